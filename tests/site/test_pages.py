"""The generated pages: every block runs, and every entry has a page that says what it must."""

import html
import json
from pathlib import Path

import pytest

from segloss import catalog
from tests.snippets import run, snippets
from tools.catalogue import load
from tools.pages import pages

ROOT = Path(__file__).resolve().parents[2]
HAND_WRITTEN = ("index.md", "conventions.md", "precompute.md", "translation.md")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return pages(load(ROOT))


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_hand_written_pages_run(name: str, tmp_path: Path) -> None:
    page = ROOT / "docs" / name
    blocks = snippets(page)
    assert blocks
    for line, code in blocks:
        run(page, line, code, tmp_path)


@pytest.mark.parametrize("key", catalog.entries())
def test_the_call_of_a_paper_runs(key: str, generated: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / f"{key}.md"
    page.write_text(generated[f"docs/papers/{key}.md"], encoding="utf-8")
    blocks = snippets(page)
    assert len(blocks) == len(catalog.get(key).implementations)
    for line, code in blocks:
        run(page, line, code, tmp_path)


@pytest.mark.parametrize("key", catalog.entries())
def test_a_page_says_what_it_must(key: str, generated: dict[str, str]) -> None:
    page, entry = html.unescape(generated[f"docs/papers/{key}.md"]), catalog.get(key)
    for implementation in entry.implementations:
        assert f"::: {implementation.function}\n" in page
    for text in (*entry.authors, entry.date, entry.doi, entry.arxiv, entry.bibtex):
        assert text is None or text in page
    for code in entry.code:
        assert f'href="{code.url}' in page
        assert (code.commit or "") in page
    for reason in (*(entry.exceptions or {}).values(), *entry.deviations):
        assert " ".join(reason.split()) in page
    assert "## Verified against" in page


def test_the_data_of_the_catalogue_is_whole(generated: dict[str, str]) -> None:
    records = json.loads(generated["docs/catalog.json"])
    assert [record["key"] for record in records] == list(catalog.entries())
    assert all(record["verified"] for record in records)
    assert all(entry.bibtex in generated["docs/references.bib"] for entry in catalog.entries().values())
