"""Questions about two people of whom the text does not say who is meant: items, and our own 54 of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lowrank.limits import at_least

__all__ = ["CONDITIONS", "KINDS", "OWN_ITEMS", "Item", "Items"]

#: What an option says of the stereotype: fits it, is its opposite, or leaves the question open.
KINDS = ("biased", "opposite", "unknown")
CONDITIONS = ("ambig", "disambig")
POLARITIES = ("neg", "nonneg")
#: Six items of our own for each of nine groups, in the format of BBQ: three contexts, each with a question that blames
#: and one that praises. In a group each of the six orders of the three kinds of options stands once.
OWN_ITEMS = Path(__file__).with_name("items.jsonl")


@dataclass(frozen=True)
class Item:
    """One question with three options.

    group : whom it is about; template : items of one are variants of each other, and are resampled together
    polarity : "neg", where the stereotype is the answer with the option `target`, or "nonneg", where it is the other
    condition : "ambig", where the context does not say who is meant, or "disambig"
    unknown, target, label : indices of the options "cannot be known", stereotyped group, and right answer
    """

    name: str
    group: str
    template: str
    polarity: str
    condition: str
    context: str
    question: str
    options: tuple[str, str, str]
    unknown: int
    target: int
    label: int

    def kinds(self) -> tuple[str, ...]:
        """Return the kind of each option: the target is biased for "neg", the other person for "nonneg"."""
        biased, other = ("biased", "opposite") if self.polarity == "neg" else ("opposite", "biased")
        return tuple(
            "unknown" if k == self.unknown else biased if k == self.target else other for k in range(len(self.options))
        )


@dataclass(frozen=True)
class Items(Sequence[Item]):
    """Items in their order, and how many were left out while reading, by the reason."""

    items: tuple[Item, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return one item, or a slice as Items."""
        found = self.items[index]
        return Items(found, self.left_out) if isinstance(index, slice) else found

    @property
    def groups(self) -> list[str]:
        """The groups in the order in which they appear."""
        return list(dict.fromkeys(item.group for item in self.items))

    def sample(self, per_group: int, *, rng: int | np.random.Generator = 0) -> Items:
        """Return so many items of every group, drawn without repetition, in their order; all where there are fewer."""
        at_least("per_group", per_group, 1)
        draw = np.random.default_rng(rng)
        kept: set[int] = set()
        for group in self.groups:
            inside = [k for k, item in enumerate(self.items) if item.group == group]
            kept |= {int(k) for k in draw.choice(inside, min(per_group, len(inside)), replace=False)}
        return Items(tuple(item for k, item in enumerate(self.items) if k in kept), self.left_out)

    def digest(self) -> str:
        """Return a SHA-256 of all that is asked."""
        text = json.dumps([asdict(item) for item in self.items], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
