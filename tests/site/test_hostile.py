"""Whatever stands in the fields of an entry is shown as text: in pages, table, feed and exports."""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.site.small_site import build, served

KEY = "evil2024hostile"
BAD = (
    '<script>window.hit=1</script> </title><img src=x onerror="window.hit=1"> "\'> <b>bold</b> [x](javascript:hit=1) '
    "`code` $x$ \\(y\\) | &lt;i&gt; &amp; {: onclick=hit } --8<-- *stars* _under_ \u202eRTL\u202c " + "W" * 300
)
FORMULA = "=HYPERLINK(1)"
ENTRY = {
    "date": "2024",
    "title": f"=1+1 {BAD}",
    "authors": [f"Jane {BAD}", "+cmd"],
    "venue": f"{FORMULA} {BAD}",
    "doi": '10.1000/x"onmouseover="hit=1"><svg/onload=hit=1>',
    "code": [
        {"url": "https://github.com/a/b", "path": BAD, "commit": "1.0.0", "framework": BAD, "official": True,
         "license": BAD, "note": BAD}
    ],
    "family": "region",
    "losses": [
        {"function": "segloss.region.dice_loss", "params": {"smooth": BAD}, "task": ["binary"], "dims": [2],
         "range": [0, 1]}
    ],
    "usage": f"::: {BAD}",
    "deviations": [BAD, f"# {BAD}"],
    "notes": f"1. {BAD}",
    "exceptions": {"best_at_truth": BAD},
}  # fmt: skip
WANTED = {"evil2023wanted": {"title": BAD, "authors": [BAD], "year": 2023, "family": "region", "note": f"- {BAD}"}}
BIBTEX = f"@misc{{{KEY},\n  title = {{{BAD}}},\n  note = {{\n```\n<script>window.hit=1</script>\n}}\n}}"
INJECTED = """() => [
  ...document.querySelectorAll('[onerror], [onclick], [onmouseover], [onload], svg[onload], a[href^="javascript"]'),
  ...[...document.querySelectorAll("article b, article i, title b, nav b, img[src=x]")],
].map((element) => element.outerHTML)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("hostile"), {KEY: ENTRY}, {KEY: BIBTEX}, WANTED)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as at:
        yield at


def visit(browser: Browser, address: str, path: str, width: int = 390) -> Page:
    page = browser.new_page(base_url=address, viewport={"width": width, "height": 800})
    page.set_default_timeout(10_000)
    page.goto(path, wait_until="networkidle")
    return page


@pytest.mark.parametrize("path", ["", "catalog/", f"papers/{KEY}/", "families/region/", "wanted/"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_runs_nothing_is_injected_and_all_of_it_is_seen(
    browser: Browser, address: str, path: str, width: int
) -> None:
    page = visit(browser, address, path, width)
    assert page.evaluate("window.hit") is None
    assert page.evaluate(INJECTED) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if path:
        assert BAD in " ".join(page.locator("article").evaluate("it => it.textContent").split())
    page.close()


def test_every_field_is_on_the_page(browser: Browser, address: str) -> None:
    page = visit(browser, address, f"papers/{KEY}/")
    text = " ".join(page.locator("article").evaluate("it => it.textContent").split())
    page.close()
    for given in (ENTRY["title"], *ENTRY["authors"], ENTRY["venue"], ENTRY["usage"], ENTRY["notes"], ENTRY["doi"]):
        assert given in text
    assert text.count(BAD) >= 12


def test_search_shows_it_as_text(browser: Browser, address: str) -> None:
    page = visit(browser, address, "", 1280)
    page.get_by_role("textbox", name="Search").press_sequentially("Jane")
    page.locator(".md-search-result__link").first.wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("window.hit") is None
    assert page.evaluate(INJECTED) == []
    page.close()


def test_the_feed_is_valid_and_holds_it_as_text(folder: Path) -> None:
    atom = "{http://www.w3.org/2005/Atom}"
    root = ElementTree.parse(folder / "feed.xml").getroot()
    (entry,) = root.findall(f"{atom}entry")
    assert entry.findtext(f"{atom}title") == ENTRY["title"]
    assert [it.findtext(f"{atom}name") for it in entry.findall(f"{atom}author")] == ENTRY["authors"]
    assert len(list(entry.iter())) == 12


def test_exports_hold_it_as_text_and_no_formula(browser: Browser, address: str) -> None:
    page = visit(browser, address, "catalog/", 1280)
    found = {}
    for format in ("CSV", "JSON", "BibTeX"):
        with page.expect_download() as waiting:
            page.locator(".filters").get_by_role("button", name=format).click()
        found[format] = Path(waiting.value.path()).read_bytes().decode("utf-8")
    page.close()
    (row,) = csv.DictReader(io.StringIO(found["CSV"].removeprefix("\ufeff")))
    assert row["title"] == f"'{ENTRY['title']}"
    assert row["venue"] == f"'{ENTRY['venue']}"
    assert not [value for value in row.values() if value[:1] in ("=", "+", "-", "@", "\t", "\r")]
    (record,) = json.loads(found["JSON"])
    assert record["title"] == ENTRY["title"]
    assert found["BibTeX"] == f"{BIBTEX}\n"
