"""Pages in a real browser: 1000 points, the first answer, frames while a slider moves, keys, names that are markup."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.chromium import Browser, browser
from helpers.page_core import as_arrays
from helpers.scattering_models import scattering

import rbm
from lowrank import gram_schmidt
from problems import reaction_diffusion_1d, thermal_fin
from rbm.show.page import write_page
from rbm.show.page.model_data import page_data

WICKED = "</script><img src=x onerror=window.ran=1>"
#: The page's own scripts, called from outside: they answer at the points of `mus`.
ANSWERS = """(() => {
  const model = rbm.readModel(JSON.parse(document.getElementById("model").textContent));
  return mus.map((mu) => {
    const { gamma, ...found } = rbm.answer(model, mu);
    return { re: [...gamma.re], im: gamma.im ? [...gamma.im] : null, ...found };
  });
})()"""
FINE = "document.getElementById('cost').textContent.includes('481')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as made:
        yield made


@pytest.fixture(scope="module")
def models() -> dict[str, rbm.ReducedModel]:
    made = {}
    for name, model, size in (("fin", thermal_fin(), 20), ("scattering", scattering(), 12)):
        result = rbm.greedy(model, model.parameters.sample(120), max_basis=size, progress=False)
        made[name] = result.reduced_model
    return made


@pytest.mark.parametrize("name", ["fin", "scattering"])
def test_1000_points_in_the_browser(
    name: str, page: Browser, models: dict[str, rbm.ReducedModel], tmp_path: Path
) -> None:
    """Solutions to 1e-12 of their size, bounds not below Python's, under 1 MB, nothing asked of anyone, no errors."""
    reduced = models[name]
    path = write_page(reduced, tmp_path / "page.html")
    assert path.stat().st_size < 1e6
    page.open(path.as_uri())
    page.wait(FINE)
    assert page.evaluate("performance.getEntriesByName('first answer').length") == 1
    assert page.errors == []
    assert [r for r in page.requests if not r.startswith(("file:", "blob:"))] == []
    assert len([r for r in page.requests if r.startswith("file:")]) == 1
    mus = reduced.parameters.sample(1000, "random", rng=5)
    found = page.evaluate(ANSWERS.replace("mus", json.dumps(mus.tolist()), 1))
    got, solution = as_arrays(found, page_data(reduced, "page")), reduced.solve(mus)
    size = np.linalg.norm(solution.coefficients, axis=1)
    assert np.max(np.linalg.norm(got["gamma"] - solution.coefficients, axis=1) / size) <= 1e-12
    assert np.all(got["bound"] >= solution.bound * (1 - 1e-9) - 0.1 * got["floor"])
    for output, (values, bounds) in got["outputs"].items():
        exact = solution.outputs[output]
        assert np.all(np.abs(values - exact) <= 1e-12 * np.max(np.abs(exact)))
        assert np.all(bounds >= 0)


def test_what_the_sliders_say_is_what_python_says(
    page: Browser, models: dict[str, rbm.ReducedModel], tmp_path: Path
) -> None:
    """A slider by the arrow keys, and a number field: the numbers that are shown hold."""
    reduced = models["fin"]
    page.open(write_page(reduced, tmp_path / "page.html").as_uri())
    page.wait(FINE)
    page.evaluate("document.getElementById('slider-0').focus()")
    before = shown(page)
    page.key("ArrowRight", 39)
    page.wait(f"document.querySelector('#outputs td').textContent !== {json.dumps(before['value'])}")
    page.evaluate(
        "(() => { const f = document.getElementById('field-4'); f.value = '0.25'; "
        "f.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    page.wait("document.getElementById('summary').textContent.includes('Bi 0.25')")
    mu = [float(page.evaluate(f"document.getElementById('field-{j}').value")) for j in range(5)]
    assert mu[0] != 1.0
    assert mu[4] == 0.25
    exact = reduced.solve([mu])
    found = shown(page)
    limit = float(found["bound"])
    assert abs(float(found["value"]) - exact.outputs["T_root"][0]) <= limit
    assert exact.output_bounds["T_root"][0] <= limit * (1 + 1e-12)
    assert limit < 1.3 * exact.output_bounds["T_root"][0] + 1e-12
    page.wait(FINE)
    assert "T_root over k1" in page.evaluate("document.querySelector('#chart title').textContent")
    assert "From" in page.evaluate("document.querySelector('#chart desc').textContent")


def shown(page: Browser) -> dict[str, str]:
    cells = page.evaluate("[...document.querySelectorAll('#outputs tbody td')].map((cell) => cell.textContent)")
    return {"value": cells[0].replace("−", "-"), "bound": cells[1]}


def test_a_value_outside_its_range_has_no_answer(
    page: Browser, models: dict[str, rbm.ReducedModel], tmp_path: Path
) -> None:
    page.open(write_page(models["fin"], tmp_path / "page.html").as_uri())
    page.evaluate(
        "(() => { const f = document.getElementById('field-0'); f.value = '11'; "
        "f.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    page.wait("!document.getElementById('message').hidden")
    assert "k1 = 11 is outside 0.1 to 10" in page.evaluate("document.getElementById('message').textContent")
    assert shown(page) == {"value": "none", "bound": "none"}
    assert page.evaluate("document.getElementById('field-0').getAttribute('aria-invalid')") == "true"
    page.evaluate("document.getElementById('middle').click()")
    page.wait("document.getElementById('message').hidden")


def test_every_control_has_a_name_and_the_page_fits_a_phone(
    page: Browser, models: dict[str, rbm.ReducedModel], tmp_path: Path
) -> None:
    """Names in the accessibility tree; no scrolling to the side at 360 pixels, light or dark; two colours of paper."""
    path = write_page(models["scattering"], tmp_path / "page.html").as_uri()
    papers = set()
    for dark in (False, True):
        page.open(path, width=360, dark=dark)
        page.wait(FINE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"slider", "spinbutton", "combobox", "button", "image", "img", "table"}
    named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if n["role"]["value"] in roles]
    assert {"slider", "spinbutton", "combobox", "button"} <= {role for role, _ in named}
    assert [role for role, name in named if not name and role != "table"] == []
    assert page.evaluate("document.getElementById('summary').getAttribute('aria-live')") == "polite"


def test_names_that_are_markup_do_nothing(page: Browser, tmp_path: Path) -> None:
    base = reaction_diffusion_1d(20)
    model = rbm.FullOrderModel(
        list(zip((1.0, "mu"), base.operator_terms, strict=True)), [(1.0, np.ones(19))], base.operator_terms[0],
        rbm.ParameterSpace({"mu": (1.0, 2.0)}, units={"mu": WICKED}), 1.0, {WICKED: np.ones(19)},
        output_units={WICKED: WICKED},
    )  # fmt: skip
    reduced = rbm.project(model, gram_schmidt(model.solve([[1.0], [2.0]]).T, product=base.operator_terms[0]).basis)
    page.open(write_page(reduced, tmp_path / "page.html", title=WICKED).as_uri())
    page.wait(FINE)
    assert page.evaluate("window.ran === undefined && document.images.length === 0")
    assert page.evaluate("document.title") == WICKED
    assert page.evaluate("document.querySelector('#outputs tbody th').textContent") == WICKED
    assert page.errors == []


def test_nothing_else_can_run_or_be_asked_for(
    page: Browser, models: dict[str, rbm.ReducedModel], tmp_path: Path
) -> None:
    """The policy: a script that is added does not run, and no request leaves."""
    page.open(write_page(models["fin"], tmp_path / "page.html").as_uri())
    page.wait(FINE)
    page.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
        "document.body.append(s); "
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i); })()"
    )
    assert page.evaluate("window.ran === undefined")
    assert page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', (e) => e.name)") == "TypeError"
    assert len([e for e in page.errors if "Content Security Policy" in e]) >= 2


def test_without_javascript_the_page_says_so(
    page: Browser, models: dict[str, rbm.ReducedModel], tmp_path: Path
) -> None:
    path = write_page(models["fin"], tmp_path / "page.html").as_uri()
    page.open("about:blank")
    try:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.navigate", url=path)
        end = time.monotonic() + 30
        while '"NOSCRIPT"' not in (read := json.dumps(page.call("DOM.getDocument", depth=-1))):
            assert time.monotonic() < end
        # without scripts its content is a paragraph, with them a text
        assert re.search(r'"nodeName": "NOSCRIPT".{1,300}"nodeName": "P".{1,300}switched off here', read)
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


def test_numbers_have_the_digits_that_their_bounds_allow(
    page: Browser, models: dict[str, rbm.ReducedModel], tmp_path: Path
) -> None:
    """Of 2000 numbers of all sizes none is off by more than what is shown beside it, and none has too many digits."""
    page.open(write_page(models["fin"], tmp_path / "page.html").as_uri())
    page.wait(FINE)
    digits = Path(rbm.show.page.__file__).with_name("digits.js").read_text()
    code = "(() => {" + digits + "return [" + ",".join(f"withBound({x!r}, {b!r})" for x, b in pairs()) + "]; })()"
    for (x, b), made in zip(pairs(), page.evaluate(code), strict=True):
        power = exponent_of(made["scale"])
        value, bound = (float(f"{made[k].replace('−', '-')}e{power}") for k in ("value", "bound"))
        assert abs(value - x) <= bound * (1 + 1e-13)
        assert bound >= b * (1 - 1e-13)
        assert bound <= 1.7 * b + 4e-14 * max(abs(x), b)
        assert len(made["value"]) <= 22


def pairs() -> list[tuple[float, float]]:
    rng = np.random.default_rng(0)
    sizes, signs = 10.0 ** rng.uniform(-12, 12, 2000), rng.choice([-1.0, 1.0], 2000)
    bounds = sizes * 10.0 ** rng.uniform(-17, 3, 2000)
    return [(float(s * x), float(b)) for s, x, b in zip(signs, sizes, bounds, strict=True)]


def exponent_of(scale: str) -> int:
    raised = scale.removeprefix(" × 10").translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
    return int(raised) if raised else 0


def test_a_given_stability_bound_is_called_given_and_a_complex_value_breaks_once(page: Browser, tmp_path: Path) -> None:
    """What certifies nothing by itself is said; beta is rounded down; on a phone a + b i takes two lines, not four."""
    base = reaction_diffusion_1d(20)
    terms, parameters = list(zip((1.0, "1j*mu"), base.operator_terms, strict=True)), {"mu": (1.0, 100.0)}
    f = np.full(19, 0.05)
    model = rbm.FullOrderModel(terms, [(1.0, f)], base.operator_terms[0], parameters, 0.7997, {"mean": f})
    reduced = rbm.greedy(model, model.parameters.sample(50), max_basis=6, progress=False).reduced_model
    page.open(write_page(reduced, tmp_path / "page.html").as_uri(), width=390)
    page.wait(FINE)
    assert "The stability bound is given, not proved" in page.evaluate("document.getElementById('notes').textContent")
    assert page.evaluate("document.querySelector('#solution dd:last-of-type').textContent") == "0.799"
    value = page.evaluate("document.querySelector('#outputs tbody td').textContent")
    assert re.fullmatch(r"−?[\d.]+ [+−]\u00a0[\d.]+\u00a0i", value)
    inside = "(() => { const p = document.getElementById('answers'); return p.scrollWidth <= p.clientWidth; })()"
    assert page.evaluate(inside)
