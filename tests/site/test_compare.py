"""Losses side by side, as a visitor uses the page."""

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.site.conftest import ROOT

TWO = ["dice_loss", "boundary_loss"]
FOUR = ["dice_loss", "focal_loss", "lovasz_softmax_loss", "jaccard_index"]
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "__proto__",
    "constructor",
    "toString",
    "javascript:alert(1)",
    '"><script>alert(1)</script>',
    "x" * 5000,
    "\N{ZERO WIDTH SPACE}%00",
)


@pytest.fixture(scope="module")
def data(site: str) -> dict[str, Any]:
    return json.loads((ROOT / "site" / "compare.json").read_text(encoding="utf-8"))


@pytest.fixture
def without_javascript(browser: Browser, site: str) -> Iterator[Page]:
    context = browser.new_context(base_url=site, java_script_enabled=False)
    yield context.new_page()
    context.close()


def address(names: list[str]) -> str:
    return "compare/?" + urlencode([("loss", name) for name in names])


def heads(page: Page) -> list[str]:
    return page.locator(".compared thead th").all_text_contents()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("names", [TWO, FOUR], ids=["two", "four"])
def test_what_the_address_names_stands_side_by_side(page: Page, names: list[str], width: int, scheme: Any) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(address(names), wait_until="networkidle")
    expect(page.locator(".compared")).to_be_visible()
    assert [head.partition("(")[0] for head in heads(page)] == names
    expect(page.locator(".compared .katex-display").first).to_be_visible()
    assert page.locator(".compared .katex-error").count() == 0
    for picture in page.locator(".side-by-side img").all():
        picture.scroll_into_view_if_needed()
        assert picture.get_attribute("alt")
    page.wait_for_function("[...document.querySelectorAll('.side-by-side img')].every(it => it.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".compared tbody td").evaluate_all("them => them.every(it => it.childNodes.length)")
    text = page.evaluate("getComputedStyle(document.querySelector('.compared tbody td')).color")
    assert text != page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_rows_are_those_of_the_card(page: Page, data: dict[str, Any]) -> None:
    page.goto(address(TWO), wait_until="networkidle")
    titles = page.locator(".compared tbody th").all_text_contents()
    assert titles[-len(data["rows"]) :] == data["rows"]
    page.goto(data["losses"][0]["papers"][0][0].join(["papers/", "/"]))
    assert page.locator(".card").first.locator("dt").all_text_contents() == data["rows"]


def choose_by_keys(page: Page, label: str, name: str) -> None:
    """Type a name where the focus is; a browser that had to wait for a key takes what follows for another name."""
    expect(page.get_by_label(label)).to_be_focused()
    for _ in range(5):
        page.keyboard.type(name)
        if page.get_by_label(label).input_value().partition("(")[0] == name:
            break
        page.wait_for_timeout(1500)
    page.keyboard.press("Tab")


def test_the_keyboard_chooses_and_the_address_follows(page: Page) -> None:
    page.goto("compare/", wait_until="networkidle")
    expect(page.locator(".side-by-side")).to_have_text("Choose two to four losses.")
    page.get_by_label("Loss 1").focus()
    choose_by_keys(page, "Loss 1", "dice_loss")
    expect(page.locator(".side-by-side")).to_have_text("Choose one more loss.")
    choose_by_keys(page, "Loss 2", "focal_loss")
    expect(page.locator(".compared")).to_be_visible()
    chosen = re.findall(r"loss=([a-z_]+)", page.url)
    assert chosen == ["dice_loss", "focal_loss"]
    before = heads(page)
    page.reload()
    expect(page.locator(".compared")).to_be_visible()
    assert heads(page) == before
    page.locator(".choices").get_by_role("button", name="Clear").press("Enter")
    expect(page.locator(".compared")).to_have_count(0)
    assert page.url.endswith("/compare/")


def test_what_is_chosen_twice_stands_once(page: Page) -> None:
    page.goto(address(["dice_loss", "dice_loss()", " dice_loss ", "boundary_loss"]), wait_until="networkidle")
    expect(page.locator(".compared")).to_be_visible()
    assert len(heads(page)) == 2


def test_more_than_four_are_cut_off_and_said_to_be(page: Page) -> None:
    page.goto(address([*FOUR, "boundary_loss"]), wait_until="networkidle")
    expect(page.get_by_role("status")).to_have_text("Of 5 losses the first 4 are shown.")
    assert len(heads(page)) == 4


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_unknown_and_hostile_names_are_only_text(page: Page, name: str) -> None:
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(address([*TWO, name]), wait_until="networkidle")
    expect(page.locator(".compared")).to_be_visible()
    assert len(heads(page)) == 2
    status = page.get_by_role("status")
    expect(status).to_contain_text("Not in the catalogue")
    assert status.evaluate("it => it.children.length") == 0
    assert len(status.inner_text()) < 200


def test_every_loss_can_be_chosen_and_every_formula_is_mathematics(page: Page, data: dict[str, Any]) -> None:
    page.goto("compare/", wait_until="networkidle")
    options = page.get_by_label("Loss 1").locator("option")
    expect(options).to_have_count(len(data["losses"]) + 1)
    offered = options.evaluate_all("them => them.map(it => it.value)")
    assert sorted(offered) == sorted(["", *(loss["name"] for loss in data["losses"])])
    for loss in data["losses"]:
        for formula in loss["formulas"]:
            page.evaluate("tex => katex.renderToString(tex, {displayMode: true, throwOnError: true})", formula)


def test_a_paper_leads_to_the_comparison(page: Page) -> None:
    page.goto("papers/salehi2017tversky/")
    page.get_by_role("link", name="Compare with other losses").first.click()
    expect(page.get_by_label("Loss 1")).to_have_value("tversky_loss(alpha=0.3,beta=0.7)")
    page.goto("catalog/")
    page.locator("article").get_by_role("link", name="compare").click()
    page.wait_for_url("**/compare/")


def test_without_javascript_the_papers_are_linked(without_javascript: Page) -> None:
    page = without_javascript
    page.goto(address(TWO), wait_until="networkidle")
    expect(page.locator("article")).to_contain_text("needs JavaScript")
    page.locator("article").get_by_role("link", name="Salehi et al. 2017").click()
    assert page.url.endswith("papers/salehi2017tversky/")
    assert page.locator(".card dt").count()


def test_data_that_cannot_be_loaded_is_said(page: Page) -> None:
    page.route("**/compare.json", lambda route: route.fulfill(status=200, body="<html>"))
    page.goto(address(TWO), wait_until="networkidle")
    expect(page.get_by_role("status")).to_contain_text("could not be loaded")


def test_the_data_is_small(data: dict[str, Any]) -> None:
    text = (ROOT / "site" / "compare.json").read_bytes()
    assert len(gzip.compress(text)) < 60_000
    assert len(text) / len(data["losses"]) < 2_500
