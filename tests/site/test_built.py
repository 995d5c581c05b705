"""The built files: links and anchors lead somewhere, a page is light, the feed and the cards of links are in place."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from segloss import catalog
from tests.site.conftest import ROOT
from tools.address import Addresses
from tools.paper import origins

SITE = ROOT / "site"
HOST = "http://localhost/"
HEAVIEST = 500_000


class Links(HTMLParser):
    """Addresses, anchors and head of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.meta: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.hrefs.append(given["href"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "alternate", "prev", "next"):
            self.loaded.append(given["href"])
        if "src" in given:
            self.loaded.append(given["src"])
        if tag == "meta":
            self.meta[given.get("property") or given.get("name", "")] = given.get("content", "")


@pytest.fixture(scope="module")
def pages(site: str) -> dict[str, Links]:
    return {file.relative_to(SITE).as_posix(): Links(file.read_text(encoding="utf-8")) for file in SITE.rglob("*.html")}


def target(page: str, href: str) -> tuple[str, str] | None:
    """File and anchor that a link of a page leads to, or nothing if it leaves the site."""
    address = urlsplit(urljoin(HOST + page.removesuffix("index.html"), href))
    if f"{address.scheme}://{address.netloc}/" != HOST:
        return None
    path = unquote(address.path).lstrip("/")
    return (f"{path}index.html" if not path or path.endswith("/") else path), unquote(address.fragment)


def test_internal_links_and_anchors_lead_somewhere(pages: dict[str, Links]) -> None:
    broken = []
    for page, links in pages.items():
        for href in (*links.hrefs, *links.loaded):
            if (found := target(page, href)) is None:
                continue
            path, anchor = found
            if not (SITE / path).is_file() or (anchor and path in pages and anchor not in pages[path].ids):
                broken.append(f"{page}: {href}")
    assert len(pages) > len(catalog.entries())
    assert not broken, "\n".join(broken)


def test_a_page_is_light_beyond_what_all_share(pages: dict[str, Links]) -> None:
    for page, links in pages.items():
        own = {found[0] for it in links.loaded if (found := target(page, it)) and not found[0].startswith("assets/")}
        files = [SITE / page, *(SITE / path for path in own if not path.endswith((".html", ".xml")))]
        assert sum(file.stat().st_size for file in files) <= HEAVIEST, page


def test_the_feed_lists_every_paper() -> None:
    atom = "{http://www.w3.org/2005/Atom}"
    root = ElementTree.parse(SITE / "feed.xml").getroot()
    entries = root.findall(f"{atom}entry")
    assert [it.findtext(f"{atom}title") for it in entries] == [it.title for it in catalog.entries().values()]
    assert len({it.findtext(f"{atom}id") for it in entries}) == len(entries)
    for it in (root, *entries):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", it.findtext(f"{atom}updated") or "")
    for link in root.iter(f"{atom}link"):
        path = link.attrib["href"]
        assert (SITE / path / "index.html").is_file() or (SITE / path).is_file()


def test_a_link_to_a_paper_has_a_card(pages: dict[str, Links]) -> None:
    for key, entry in catalog.entries().items():
        meta = pages[f"papers/{key}/index.html"].meta
        assert meta["og:title"] == meta["twitter:title"] == entry.title
        assert entry.venue in meta["og:description"] == meta["description"]


def test_sources_are_linked_where_the_repository_has_an_address() -> None:
    places = [("dice_loss", "segloss/region/dice.py", 7)]
    text = "\n".join(origins(places, Addresses("", "https://github.com/o/r", "trunk"), 3))
    for address in ("blob/trunk/segloss/region/dice.py#L7", "blob/trunk/catalog.yaml#L3", "edit/trunk/catalog.yaml#L3"):
        assert f'href="https://github.com/o/r/{address}"' in text
    assert "href" not in "\n".join(origins(places, Addresses(), 3))


def test_pages_name_the_line_of_code_and_entry() -> None:
    page = (ROOT / "docs/papers/salehi2017tversky.md").read_text(encoding="utf-8")
    line = int((re.search(r"catalog\.yaml</code>, line (\d+)", page) or [""] * 2)[1])
    assert (ROOT / "catalog.yaml").read_text(encoding="utf-8").splitlines()[line - 1] == "salehi2017tversky:"


def test_what_is_missing_is_said_with_a_way_on() -> None:
    assert "catalogue" in Path(SITE / "404.html").read_text(encoding="utf-8").split("This page does not exist")[1]
