"""Reader of questions in the format of BBQ (Parrish and others, 2022): JSON lines, one question each."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.reading import FileFormatError, read_bytes
from ml.language.debiasing.items import CONDITIONS, OWN_ITEMS, POLARITIES, Item, Items

__all__ = ["own_items", "read_bbq"]

COUNT = 3
TEXTS = ("question_polarity", "context_condition", "category", "context", "question", "ans0", "ans1", "ans2")


def own_items() -> Items:
    """Return our 54 items: six for each of nine groups, mildly worded, all ambiguous.

    Raises FileNotFoundError or FileFormatError where the file of the package is missing or damaged.

    >>> from ml.language.debiasing import own_items
    >>> items = own_items()
    >>> len(items), len(items.groups)
    (54, 9)
    """
    return read_bbq(OWN_ITEMS)


def read_bbq(
    path: str | os.PathLike[str],
    *,
    conditions: Sequence[str] = ("ambig",),
    targets: str | os.PathLike[str] | None = None,
) -> Items:
    """Return the items of a folder of .jsonl files, or of one file, in the order of names and lines.

    path : the folder `data` of BBQ, or a file of yours with the same fields (docs/debiasing.md lists them)
    conditions : "ambig", "disambig" or both; items of others are left out and not counted
    targets : BBQ's table additional_metadata.csv, with the columns category, example_id and target_loc; an item that
        it names has that target

    The target is the option of whose text and group, in `answer_info`, one is a stereotyped group. Where none or two
    are, or not exactly one option is "unknown", the item is left out and counted in `Items.left_out`.

    Raises FileNotFoundError where there is no such file, and FileFormatError with file and line for a line that is no
    JSON object, lacks a field or holds something else there.
    """
    table = {} if targets is None else _table(Path(targets))
    unknown = set(conditions) - set(CONDITIONS)
    if unknown or not conditions:
        raise ValueError(f"conditions must be some of {', '.join(CONDITIONS)}, got {sorted(unknown)}")
    place = Path(path)
    files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
    if not files or not files[0].exists():
        what = "no .jsonl file is in it" if place.is_dir() else "it is not there"
        raise FileNotFoundError(f"{place} holds no items, {what}: give the folder `data` of BBQ, or a .jsonl file")
    items: list[Item] = []
    left_out: Counter[str] = Counter()
    for file in files:
        for number, line in enumerate(read_bytes(file).split(b"\n"), 1):
            if not line.strip():
                continue
            found = _item(f"{file}, line {number}", line, table)
            if isinstance(found, str):
                left_out[found] += 1
            elif found.condition in conditions:
                items.append(found)
    names = Counter(item.name for item in items)
    if twice := [name for name, count in names.items() if count > 1]:
        raise FileFormatError(f"{place} holds the item {twice[0]} twice; remove one")
    return Items(tuple(items), dict(sorted(left_out.items())))


def _table(path: Path) -> dict[tuple[str, str], int]:
    """Return the targets that a table names, by category and number of the item."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError(f"{path} is no table of comma-separated values in UTF-8 ({error})") from None
    found = {}
    for number, row in enumerate(rows, 2):
        if missing := [key for key in ("category", "example_id", "target_loc") if row.get(key) is None]:
            raise FileFormatError(f"{path}, row {number}: the column {missing[0]} is missing")
        if row["target_loc"] in ("0", "1", "2"):
            found[row["category"], row["example_id"]] = int(row["target_loc"])
        elif row["target_loc"] not in ("", "NA"):
            raise FileFormatError(
                f"{path}, row {number}: target_loc must be 0, 1, 2 or NA, got {row['target_loc']!r:.40}"
            )
    return found


def _item(where: str, line: bytes, table: Mapping[tuple[str, str], int]) -> Item | str:
    """Return the item of a line, or why it is left out."""
    fields = _fields(where, line)
    options = tuple(fields[f"ans{k}"] for k in range(COUNT))
    infos = [[text.strip().lower() for text in fields["answer_info"][f"ans{k}"]] for k in range(COUNT)]
    wanted = {group.strip().lower() for group in fields["additional_metadata"]["stereotyped_groups"]}
    open_ones = [k for k, (_, group) in enumerate(infos) if group == "unknown"]
    # of nations the group is a continent, and what is stereotyped stands as the text
    targets = [k for k, info in enumerate(infos) if wanted & set(info) and k not in open_ones]
    group = fields["category"]
    named = table.get((group, str(fields["example_id"])))
    targets = targets if named is None else [named]
    if len(open_ones) != 1 or targets == open_ones:
        return "not one option is unknown"
    if len(targets) != 1:
        return "no option is of a stereotyped group" if not targets else "two options are of stereotyped groups"
    return Item(
        name=f"{group}:{fields['example_id']}:{fields['question_polarity']}:{fields['context_condition']}",
        group=group,
        template=f"{group}:{fields['question_index']}",
        polarity=fields["question_polarity"],
        condition=fields["context_condition"],
        context=fields["context"],
        question=fields["question"],
        options=options,
        unknown=open_ones[0],
        target=targets[0],
        label=fields["label"],
    )


def _fields(where: str, line: bytes) -> Mapping[str, Any]:
    """Return the fields of a line, all of the types that they must have."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where}: no JSON ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(fields, dict):
        raise FileFormatError(f"{where}: no object, but {type(fields).__name__}")
    needed = ("example_id", "question_index", *TEXTS, "answer_info", "additional_metadata", "label")
    if missing := [key for key in needed if key not in fields]:
        raise FileFormatError(f"{where}: the field {missing[0]} is missing; an item has {', '.join(needed)}")
    for key in TEXTS:
        if not isinstance(fields[key], str) or not fields[key].strip():
            raise FileFormatError(f"{where}: {key} must be a text that is not empty, got {fields[key]!r:.80}")
    for key, allowed in (("question_polarity", POLARITIES), ("context_condition", CONDITIONS)):
        if fields[key] not in allowed:
            raise FileFormatError(f"{where}: {key} must be one of {', '.join(allowed)}, got {fields[key]!r:.80}")
    for key in ("example_id", "question_index"):
        if isinstance(fields[key], bool) or not isinstance(fields[key], int | str):
            raise FileFormatError(f"{where}: {key} must be a number or a text, got {fields[key]!r:.80}")
    if type(fields["label"]) is not int or fields["label"] not in range(COUNT):  # no bool, no 1.0
        raise FileFormatError(f"{where}: label must be 0, 1 or 2, got {fields['label']!r:.80}")
    for k in range(COUNT):
        pair = fields["answer_info"].get(f"ans{k}") if isinstance(fields["answer_info"], dict) else None
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise FileFormatError(f"{where}: answer_info.ans{k} must be [text, group], got {pair!r:.80}")
    more = fields["additional_metadata"]
    groups = more.get("stereotyped_groups") if isinstance(more, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise FileFormatError(
            f"{where}: additional_metadata.stereotyped_groups must be a list of texts, got {groups!r:.80}"
        )
    return fields
