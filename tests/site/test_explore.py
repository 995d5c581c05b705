"""Formulas with sliders: the browser computes what the implementation gives, and a slider does what it says."""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from segloss import catalog
from tools import explore
from tools.catalogue import load
from tools.explore import EXPLORERS, LINES, Explorer, Slider, defaults, explorer, sliders

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = load(ROOT).functions
CHECKED = {
    "voxel": (0.01, 0.2, 0.5, 0.8, 0.99),
    "overlap": (0.125, 0.25, 0.4, 0.625, 0.8, 1.0),
    "confidence": (0.0, 0.05, 0.5, 0.8, 1.0),
}
PAPER = "papers/salehi2017tversky/"


def grid(function: str) -> list[dict[str, Any]]:
    """Parameters at the ends and in the middle of every slider, and at what cannot be moved."""
    found = EXPLORERS[function]
    given = defaults(FUNCTIONS[function])
    fixed = {name: given[name] for name in found.fixed}
    steps = [(each.low, each.low + 0.4 * (each.high - each.low), each.high) for each in found.sliders]
    combined = [dict(zip(sliders(found), values, strict=True)) for values in itertools.product(*steps)]
    others = [{**fixed, "smooth": 7.0}] if "smooth" in fixed else []
    if "squared" in fixed:
        others.append({**fixed, "squared": False})
    cases = [{**each, **those} for each in combined for those in (fixed, *others)]
    if "alpha" in given and given["alpha"] is None:
        cases.append({name: value for name, value in cases[0].items() if name != "alpha"})
    return cases


@pytest.mark.parametrize("function", EXPLORERS, ids=lambda name: name.rpartition(".")[2])
def test_the_formula_of_the_browser_is_the_implementation(page: Page, function: str) -> None:
    page.goto(PAPER)
    kind, name = EXPLORERS[function].kind, function.rpartition(".")[2]
    compared = 0
    for params in grid(function):
        if params.get("alpha") == params.get("beta") == 0 and not params.get("smooth"):
            continue  # nothing is priced: 0 / 0 where nothing is found
        ours = explore.values(function, params, CHECKED[kind])
        theirs = page.evaluate(
            "([kind, name, params, xs, lines]) => lines.map((line) => "
            "xs.map((x) => seglossFormula(kind, name, params, x, line)))",
            [kind, name, params, CHECKED[kind], list(range(len(LINES[kind])))],
        )
        for one, other in zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True):
            assert other == pytest.approx(one, rel=1e-6, abs=1e-9), params
            compared += 1
    assert compared >= 15


@pytest.mark.parametrize("function", EXPLORERS)
def test_sliders_begin_at_the_papers_values(function: str) -> None:
    found = EXPLORERS[function]
    assert set(found.fixed) <= set(defaults(FUNCTIONS[function]))
    for entry in catalog.entries().values():
        for loss in entry.losses:
            if loss.function == function:
                params = {**defaults(FUNCTIONS[function]), **loss.params}
                for each in found.sliders:
                    value = params[each.name]
                    assert value is None or each.low <= value <= each.high, (entry.key, each)


def test_only_what_is_priced_can_be_moved() -> None:
    function = FUNCTIONS["segloss.distribution.focal_loss"]
    item = {"function": "segloss.distribution.focal_loss", "params": {"gamma": 2.0}}
    text = "\n".join(explorer(item, function))
    assert text.startswith("**Move `gamma`**")
    assert "<td>1.865</td>" in text  # 0.9² · ln 10
    assert f"{0.81 * math.log(10):.3f}" == "1.865"


def test_a_loss_without_a_plot_has_none() -> None:
    function = FUNCTIONS["segloss.region.dice_loss"]
    assert explorer({"function": "segloss.region.dice_loss"}, function) == []


def test_a_power_is_read_from_the_signature() -> None:
    assert defaults(FUNCTIONS["segloss.region.focal_tversky_loss"])["gamma"] == pytest.approx(4 / 3)


def test_ends_of_sliders_are_in_order() -> None:
    for found in EXPLORERS.values():
        assert isinstance(found, Explorer)
        for each in found.sliders:
            assert isinstance(each, Slider)
            assert each.low < each.high
            assert each.step > 0


def cells(page: Page) -> list[str]:
    return page.locator(".explore").first.locator("td").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_slider_moves_curve_table_and_address(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(PAPER)
    box = page.locator(".explore").first
    expect(box.locator("svg")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    table = box.locator("table").bounding_box()
    outer = box.bounding_box()
    assert table
    assert outer
    assert table["x"] + table["width"] <= outer["x"] + outer["width"]
    before, curve = cells(page), box.locator(".line-1").first.get_attribute("d")
    slider = box.get_by_role("slider", name="alpha")
    expect(slider).to_have_value("0.3")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("0.5")
    page.wait_for_url("**/?tversky_loss.alpha=0.5")
    assert cells(page) != before
    assert box.locator(".line-1").first.get_attribute("d") != curve
    page.reload()
    expect(page.locator(".explore").first.get_by_role("slider", name="alpha")).to_have_value("0.5")
    page.locator(".explore").first.get_by_role("button", name="As in the paper").press("Enter")
    assert page.url.endswith(PAPER)
    assert cells(page) == before


def test_the_table_is_that_of_the_implementation(page: Page, site: str) -> None:
    """What the script writes is what stood there without it."""
    browser = page.context.browser
    assert browser
    context = browser.new_context(java_script_enabled=False, base_url=site)
    plain = context.new_page()
    for key, entry in catalog.entries().items():
        if any(loss.function in EXPLORERS for loss in entry.losses):
            plain.goto(f"papers/{key}/")
            page.goto(f"papers/{key}/")
            expect(page.locator(".explore svg")).to_have_count(plain.locator(".explore").count())
            written = plain.locator(".explore td").all_inner_texts()
            assert page.locator(".explore td").all_inner_texts() == written
            assert all(re.fullmatch(r"-?\d+\.\d{3}", text) for text in written)
    context.close()


def test_nonsense_in_the_address_changes_nothing(page: Page) -> None:
    page.goto(PAPER)
    before = cells(page)
    page.goto(PAPER + "?tversky_loss.alpha=much&tversky_loss.other=3")
    expect(page.locator(".explore svg").first).to_be_visible()
    assert cells(page) == before
