"""The site in a real browser: it renders, filters, sorts and searches, and asks no other host for anything."""

import re

import pytest
from playwright.sync_api import Page, expect

PAPER = "papers/salehi2017tversky/"
PAGES = (
    "",
    "catalog/",
    PAPER,
    "papers/berman2018lovasz/",
    "families/region/",
    "conventions/",
    "translation/",
    "one-input/",
    "choose/",
    "lineage/",
)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_loads_and_fits(page: Page, path: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path, wait_until="networkidle")
    expect(page.locator("h1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not re.search(r"\$\$|\\\[|\\frac", page.locator("article").inner_text())


def test_mathematics_is_rendered(page: Page) -> None:
    page.goto(PAPER)
    expect(page.locator(".katex-display").first).to_be_visible()
    expect(page.locator(".katex-error")).to_have_count(0)
    assert page.locator(".arithmatex:not(:has(.katex))").count() == 0
    assert page.evaluate("document.fonts.check('16px KaTeX_Main')")


def test_the_record_can_be_copied(page: Page, site: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site)
    page.goto(PAPER)
    page.locator(".highlight", has_text="@inproceedings").get_by_role("button").click()
    page.wait_for_function(
        "navigator.clipboard.readText().then(text => text.startsWith('@inproceedings{salehi2017tversky,'))"
    )


def test_a_badge_leads_to_the_filtered_catalogue(page: Page) -> None:
    page.goto(PAPER)
    page.locator(".badges").get_by_text("multilabel").click()
    page.wait_for_url("**/catalog/?task=multilabel")
    expect(page.get_by_label("Task")).to_have_value("multilabel")


def test_search_finds_a_loss(page: Page) -> None:
    page.goto("")
    page.get_by_role("textbox", name="Search").press_sequentially("salehi tversky")
    found = page.locator(".md-search-result__link", has_text="Salehi et al. 2017")
    expect(found.first).to_be_visible()
    found.first.click()
    page.wait_for_url(f"**/{PAPER}**")


def test_both_palettes(page: Page) -> None:
    for scheme, background in (("light", "255, 255, 255"), ("dark", "30, 33, 41")):
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        page.goto(PAPER)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == f"rgb({background})"
