"""Pages of reduced models: what they hold, what they forbid, and models that no page can hold."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from helpers.models import complex_model
from helpers.parabolic import heat

import rbm
from lowrank import gram_schmidt
from problems import reaction_diffusion_1d
from rbm.command_line import main
from rbm.errors import ModelError
from rbm.show.page import page_html, write_page
from rbm.show.page.document import CORE, VIEW

WICKED = "</script><img src=x onerror=alert(1)>&amp;<!--"


class Parsed(HTMLParser):
    """Tags, and the texts of scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self._inside: Any = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        elif tag == "style":
            self.styles.append("")

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag == "script" and self.scripts[-1][0] == attributes and not self.scripts[-1][1]:
            self.scripts[-1] = (attributes, data)
        elif tag == "style" and not self.styles[-1]:
            self.styles[-1] = data


def data_of(made: rbm.ReducedModel) -> Any:
    """The data in a page."""
    return json.loads({a.get("id"): text for a, text in Parsed(page_html(made)).scripts}["model"])


def small(**options: Any) -> rbm.ReducedModel:
    model = reaction_diffusion_1d(20)
    return rbm.greedy(model, model.parameters.sample(20), max_basis=3, progress=False, **options).reduced_model


@pytest.fixture(scope="module")
def reduced() -> rbm.ReducedModel:
    return small()


def test_a_page_is_one_file_that_asks_for_nothing(reduced: rbm.ReducedModel) -> None:
    """No address anywhere but the name of SVG, and a policy that lets only its own scripts and style run."""
    text = page_html(reduced, title="Rod")
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    parsed = Parsed(text)
    assert not [a for _, a in parsed.tags if {"src", "href", "style", "onclick", "onload"} & a.keys()]
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    assert not {"connect-src", "img-src", "frame-src", "object-src"} & rules.keys()  # as default-src
    run = [script for attributes, script in parsed.scripts if "type" not in attributes]
    assert len(run) == 2
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in [*run, *parsed.styles]
    ]
    assert rules["script-src"] == [*hashes[:2], "blob:"]
    assert rules["style-src"] == hashes[2:]
    for word in ("eval(", "Function(", "innerHTML", "insertAdjacent", "document.write", "fetch(", "XMLHttp", "import("):
        assert not [name for name in (*CORE, *VIEW) if word in run[0] + run[1]], word


def test_a_title_that_is_no_text_is_refused() -> None:
    model = reaction_diffusion_1d(8)
    reduced = rbm.greedy(model, model.parameters.sample(8), max_basis=1).reduced_model
    with pytest.raises(ModelError, match="the title of a page must be a text, got 3"):
        page_html(reduced, title=3)


def test_names_and_titles_cannot_become_markup() -> None:
    """A name of an output that would end the script is a name all the same."""
    base = reaction_diffusion_1d(20)
    model = rbm.FullOrderModel(
        list(zip((1.0, "mu"), base.operator_terms, strict=True)), [(1.0, np.ones(19))], base.operator_terms[0],
        rbm.ParameterSpace({"mu": (1.0, 2.0)}, units={"mu": WICKED}), 1.0, {WICKED: np.ones(19)},
        output_units={WICKED: WICKED},
    )  # fmt: skip
    made = rbm.project(model, gram_schmidt(model.solve([[1.0], [2.0]]).T, product=base.operator_terms[0]).basis)
    parsed = Parsed(page_html(made, title=WICKED))
    assert not [tag for tag, _ in parsed.tags if tag == "img"]
    assert len(parsed.scripts) == 4
    data = json.loads(next(text for attributes, text in parsed.scripts if attributes.get("id") == "model"))
    assert data["title"] == data["parameters"][0]["unit"] == data["outputs"][0]["name"] == WICKED
    assert html.escape(WICKED) in page_html(made, title=WICKED)


def test_arrays_are_little_endian_doubles(reduced: rbm.ReducedModel) -> None:
    data = data_of(reduced)
    stored = data["operators"]
    numbers = np.frombuffer(base64.b64decode(stored["re"]), "<f8").reshape(stored["shape"])
    np.testing.assert_array_equal(numbers, reduced.operators)
    assert "im" not in stored
    complex_page = data_of(small_complex())
    assert complex_page["complex"]
    assert {"re", "im"} <= complex_page["rhs"].keys()


def small_complex() -> rbm.ReducedModel:
    model = complex_model(20)
    return rbm.greedy(model, model.parameters.sample(20), max_basis=3, progress=False).reduced_model


def test_a_page_is_written_whole_or_not_at_all(reduced: rbm.ReducedModel, tmp_path: Path) -> None:
    path = write_page(reduced, tmp_path / "rod.html")
    assert path.read_text() == page_html(reduced, title="rod")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_page(reduced, path, overwrite=False)
    before = path.read_bytes()
    with pytest.raises(ModelError):
        write_page(reduced.astype("float32"), path)
    assert path.read_bytes() == before
    with pytest.raises(OSError, match="no_folder"):
        write_page(reduced, tmp_path / "no_folder" / "rod.html")
    assert [p.name for p in tmp_path.iterdir()] == ["rod.html"]


@dataclass(frozen=True)
class OwnBound:
    kind: ClassVar[str] = "own bound of a page test"

    def __call__(self, mus: Any, theta: Any) -> Any:
        return np.ones(len(mus))


class OwnFamily:
    kind = "own family"

    def __len__(self) -> int:
        return 1

    def compiled(self, names: Any) -> Any:
        return lambda mus: mus[:, :1]

    def arrays(self) -> dict[str, Any]:
        return {}


def with_coefficient(source: Any) -> rbm.ReducedModel:
    base = reaction_diffusion_1d(20)
    model = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), (source, base.operator_terms[1])], [(1.0, np.ones(19))], base.operator_terms[0],
        {"mu": (1.0, 2.0)}, 1.0,
    )  # fmt: skip
    return rbm.project(model, gram_schmidt(model.solve([[1.0], [2.0]]).T, product=base.operator_terms[0]).basis)


def large() -> rbm.ReducedModel:
    model = reaction_diffusion_1d(120)
    basis = gram_schmidt(np.eye(119)[:, :51], product=model.inner_product.matrix).basis
    return rbm.project(model, basis)


def in_time() -> Any:
    model = heat()
    return rbm.pod_greedy(model, model.parameters.sample(3), max_basis=3, progress=False).reduced_model


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (large, r"at most 50 basis vectors, this model has 51; reduced.truncate\(50\)"),
        (lambda: small(estimators=("direct",)), 'needs the estimator "orthonormal"'),
        (lambda: small(estimators=("expanded",)), "this model has expanded"),
        (lambda: small().astype("float32"), r'astype\("float64"\)'),
        (lambda: with_coefficient(lambda mus: mus[:, 0]), "Python callable, which a page cannot run"),
        (
            lambda: with_coefficient(rbm.parameters.interpolated_family.InterpolatedCoefficient(OwnFamily(), 0)),
            "OwnFamily",
        ),
        (lambda: replace(small(), stability=OwnBound()), "stability bound OwnBound"),
        (in_time, "for models without time"),
        (lambda: 3, "rbm.ReducedModel, got int"),
    ],
)
def test_models_that_no_page_can_hold(made: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        write_page(made(), tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_float32_as_float64_is_a_page(tmp_path: Path) -> None:
    """As the message says; the larger constants travel."""
    write_page(small().astype("float32").astype("float64"), tmp_path / "page.html")


def test_outputs_that_a_page_does_not_know_are_named() -> None:
    base = reaction_diffusion_1d(40)
    model = replace_outputs(base)
    made = rbm.greedy(model, model.parameters.sample(20), max_basis=4, dual="all", progress=False).reduced_model
    assert {o.kind for o in made.outputs.values()} == {"primal-dual"}
    data = data_of(made)
    assert data["outputs"] == []
    assert data["left_out"] == [{"name": "left", "kind": "primal-dual"}]


def replace_outputs(base: rbm.FullOrderModel) -> rbm.FullOrderModel:
    terms = list(zip((1.0, "mu"), base.operator_terms, strict=True))
    left = np.where(np.arange(39) < 10, 1.0, 0.0)
    return rbm.FullOrderModel(
        terms, [(1.0, np.ones(39))], base.operator_terms[0], {"mu": (1.0, 9.0)}, 1.0, {"left": left}
    )


def test_the_command(reduced: rbm.ReducedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, page = tmp_path / "rod.rbm", tmp_path / "page.html"
    reduced.save(model)

    def said(*arguments: object, status: int = 2) -> str:
        assert main(["export", *map(str, arguments)]) == status
        shown = capsys.readouterr()
        return shown.err if status else shown.out

    assert "3 basis vectors" in said(model, "--html", page, status=0)
    assert page.read_text() == page_html(rbm.load(model), title="rod")
    assert "--force" in said(model, "--html", page)
    assert "bytes" in said(model, "--html", page, "--force", "--title", "A rod", status=0)
    assert "<title>A rod</title>" in page.read_text()
    assert "is the model itself" in said(model, "--html", model, "--force")
    assert "is a folder: give the name of a file" in said(model, "--html", tmp_path, "--force")
    assert "is the mesh itself" in said(model, "--mesh", page, "--mu", "1", "-o", page)
    assert "--mu is for fields" in said(model, "--html", tmp_path / "b.html", "--mu", "1")
    assert "--name is for fields" in said(model, "--html", tmp_path / "b.html", "--name", "p")
    assert "a field needs --mesh, --mu, --output; for a page" in said(model)
    assert "--force is for pages" in said(model, "--mesh", "a", "--mu", "1", "-o", "b", "--force")
    small(estimators=("expanded",)).save(model)
    assert said(model, "--html", tmp_path / "b.html").count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "rod.rbm"]
