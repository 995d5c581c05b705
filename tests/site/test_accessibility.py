"""axe-core finds no serious or critical violation on any kind of page, in either palette."""

import pytest
from playwright.sync_api import Page

from tests.site.conftest import ROOT

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = (
    "",
    "catalog/",
    "catalog/?family=region&text=dice",
    "papers/salehi2017tversky/",
    "papers/ronneberger2015unet/",
    "families/region/",
    "conventions/",
    "translation/",
    "one-input/",
    "precompute/",
    "how-to-contribute/",
    "wanted/",
    "choose/",
    "compare/?loss=dice_loss&loss=jaccard_loss",
    "lineage/",
    "integrations/",
    "cost/",
    "reliability/",
    "licences/",
    "papers/stucki2023betti/",
    "404.html",
)
RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).flatMap(({ id, nodes }) =>
    nodes.slice(0, 5).map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary}`));
}"""

READY = """() => [...document.querySelectorAll("article table:not([class])")].every(
  (table) => table.closest(".md-typeset__scrollwrap"))"""
"""The theme puts tables into boxes that scroll, which on a long page takes it a while."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_serious_stands_in_the_way(page: Page, path: str, width: int, scheme: str) -> None:
    assert AXE.is_file(), "run python -m tools.assets, which fetches axe-core"
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark", reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path, wait_until="networkidle")
    page.wait_for_function(READY)
    page.add_script_tag(path=AXE)
    found = page.evaluate(RUN)
    assert not found, "\n".join(found)
