"""The family tree on the site: drawn, legible in both schemes, followed by keyboard, said again in words."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tools.lineage import read_edges

EDGES = read_edges(Path(__file__).resolve().parents[2])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_tree_is_drawn_and_fits(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto("lineage/")
    expect(page.locator(".lineage svg")).to_be_visible()
    expect(page.locator(".lineage path")).to_have_count(len(EDGES))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate(
        "['.lineage text.name', '.lineage path', '.lineage rect:not(.stripe)'].map((it) => {"
        "const style = getComputedStyle(document.querySelector(it)); return [style.fill, style.stroke]})"
    )
    assert colours[0][0] != colours[2][0]
    if width == 1280:
        hidden = page.evaluate("(it => it.scrollWidth - it.clientWidth)(document.querySelector('.lineage'))")
        assert hidden <= 0


def test_no_text_leaves_its_box(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto("lineage/")
    wide = page.evaluate(
        "[...document.querySelectorAll('.lineage g')].flatMap((group) => {"
        "const box = group.querySelector('rect').getBBox();"
        "return [...group.querySelectorAll('text')].filter((text) => {"
        "const own = text.getBBox(); return own.x < box.x + 4 || own.x + own.width > box.x + box.width"
        "}).map((text) => text.textContent)})"
    )
    assert wide == []


def test_every_edge_is_said_in_the_table(page: Page) -> None:
    page.goto("lineage/")
    rows = page.locator("article table tbody tr")
    expect(rows).to_have_count(len(EDGES))
    for row, edge in zip(rows.all_inner_texts(), EDGES, strict=True):
        assert edge.condition in row
        assert all(call in row for call in edge.equation)


def test_a_box_leads_to_its_paper_by_keyboard(page: Page) -> None:
    page.goto("lineage/")
    page.locator(".lineage").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/papers/**")
    expect(page.locator("h1")).to_be_visible()
