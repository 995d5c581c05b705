"""The chooser: every answer leads to the losses that the catalogue has for it; the survey is quoted as published."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from segloss import catalog
from tools.catalogue import load
from tools.choose import QUESTIONS, Found, choose_page, found
from tools.pages import guides
from tools.paper import Entry
from tools.sources import Function
from tools.survey import FIRST, SECOND, places

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = load(ROOT)
ENTRIES: dict[str, Entry] = {
    key: {**entry.fields, "families": CATALOGUE.records[key].families} for key, entry in CATALOGUE.entries.items()
}
CODE: dict[str, Function] = dict(CATALOGUE.functions)
ANSWERS = {(q.name, a.value): found(a, ENTRIES, CODE) for q in QUESTIONS for a in q.answers}
WITH_LOSSES = [key for key, entry in catalog.entries().items() if entry.losses]
SIZES = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]


def test_there_are_at_most_six_questions() -> None:
    assert len(QUESTIONS) <= 6
    assert len({question.name for question in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("word", catalog.SUITS)
def test_every_word_of_the_catalogue_is_asked_for(word: str) -> None:
    mine = {key: entry.suits[word] for key, entry in catalog.entries().items() if word in entry.suits}
    assert mine
    assert mine in [{key: fit.reason for key, fit in fits.items()} for fits in ANSWERS.values()]


def test_tasks_and_dimensions_are_those_of_the_losses() -> None:
    for name, values in (("classes", catalog.TASKS), ("volume", ("2d", "3d"))):
        for value in values:
            expected = {}
            for key, entry in catalog.entries().items():
                has = [
                    value in loss.task or (value[0].isdigit() and int(value[0]) in loss.dims) for loss in entry.losses
                ]
                if any(has):
                    expected[key] = tuple(at for at, each in enumerate(has) if each)
            assert {key: fit.items for key, fit in ANSWERS[name, value].items()} == expected


def test_a_loss_alone_needs_no_other() -> None:
    assert "kervadec2019boundary" not in ANSWERS["effort", "alone"]
    assert "shirokikh2020universal" in ANSWERS["effort", "alone"]
    assert "shirokikh2020universal" not in ANSWERS["effort", "plain"]
    assert "salehi2017tversky" in ANSWERS["effort", "plain"]


def test_unequal_spacing_needs_losses_that_take_it_or_measure_nothing() -> None:
    fits = ANSWERS["volume", "anisotropic"]
    assert fits["kervadec2019boundary"].reason == "Takes the voxel spacing."
    assert fits["salehi2017tversky"].reason == ""
    assert "eljurdi2021perimeter" not in fits


def test_the_page_has_every_answer_and_escapes_what_it_says() -> None:
    text = guides(ENTRIES, CODE)["docs/choose.md"]
    for question in QUESTIONS:
        for answer in question.answers:
            assert (f"<td>{answer.text}</td>" in text) == bool(ANSWERS[question.name, answer.value])
    key = WITH_LOSSES[0]
    evil = choose_page({key: {**ENTRIES[key], "title": "<script>x</script>", "usage": "a < b & c"}}, CODE)
    assert "<script>" not in evil
    assert "a &lt; b &amp; c" in evil


def test_the_numbers_of_the_survey_are_whole() -> None:
    assert len(FIRST) == 17
    assert all(len(row) == 8 and all(0 < value < 1 for value in row) for row in FIRST.values())
    assert all(len(row) == 6 for row in SECOND.values())
    assert places({"a": (0.9, 0.1), "b": (0.5, 0.5), "c": (0.5, 0.2)}) == {"a": 3, "b": 2, "c": 2}
    text = guides(ENTRIES, CODE)["docs/choose.md"]
    assert "DiceTopK never falls below place 4" in text
    assert "| **DiceTopK** | 0.9690 / 0.8092 | 0.6125 / 0.4208 | 0.8375 / 0.6598 | 0.8512 / 0.7308 | 4 |" in text


def shown(page: Page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('.choice')].filter(it => !it.hidden).map(it => it.id)")


def expected(chosen: dict[str, str]) -> list[str]:
    """What the answers leave, by the rule: all that must be, on one and the same loss, and one wish at least."""
    wishes: list[dict[str, Found]] = []
    left = {key: set(range(len(catalog.get(key).losses))) for key in WITH_LOSSES}
    for question in QUESTIONS:
        if question.name in chosen:
            fits = ANSWERS[question.name, chosen[question.name]]
            if question.must:
                left = {key: items & set(fits[key].items if key in fits else ()) for key, items in left.items()}
            else:
                wishes.append(fits)
    score = {
        key: sum(bool(items & set(fits[key].items)) for fits in wishes if key in fits) for key, items in left.items()
    }
    kept = [key for key, items in left.items() if items and (not wishes or score[key])]
    return sorted(kept, key=lambda key: -score[key])


@pytest.mark.parametrize(("width", "scheme"), SIZES)
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"balance": "rare"},
        {"balance": "rare", "shape": "contour", "volume": "anisotropic"},
        {"labels": "partial", "classes": "multilabel"},
        {"effort": "plain", "balance": "rare", "classes": "binary", "labels": "noisy"},
    ],
    ids=str,
)
def test_the_address_chooses(page: Page, chosen: dict[str, str], width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto("choose/?" + "&".join(f"{name}={value}" for name, value in chosen.items()))
    expect(page.locator(".questions fieldset")).to_have_count(len(QUESTIONS))
    expect(page.locator(".choose-answers")).to_be_hidden()
    assert shown(page) == expected(chosen)
    expect(page.locator(".outcome output")).to_contain_text(f"{len(expected(chosen))} of {len(WITH_LOSSES)} papers")
    for question in QUESTIONS:
        checked = page.locator(f"input[name={question.name}]:checked")
        assert checked.get_attribute("value") == chosen.get(question.name, "")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_used_by_keyboard_alone(page: Page) -> None:
    page.goto("choose/")
    page.locator("input[name=balance]:checked").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_url("**/choose/?balance=rare")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.wait_for_url("**/choose/?balance=rare&shape=thin")
    assert shown(page) == expected({"balance": "rare", "shape": "thin"})
    expect(page.locator(".outcome output")).to_contain_text("for every reason given")
    for _ in range(5):
        page.keyboard.press("Tab")
    expect(page.locator(".questions").get_by_role("button", name="Clear")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".outcome output")).to_have_text(f"{len(WITH_LOSSES)} of {len(WITH_LOSSES)} papers")
    assert page.url.endswith("/choose/")
    page.locator(".choice a").first.press("Enter")
    page.wait_for_url("**/papers/**")


def test_what_speaks_for_a_loss_is_said_and_what_does_not_fit_is_struck_out(page: Page) -> None:
    page.goto("choose/?balance=rare&classes=binary")
    focal = page.locator("#lin2017focal")
    expect(focal.locator("li:visible")).to_have_text([catalog.get("lin2017focal").suits["imbalance"]])
    expect(page.locator("#ma2021odyssey code.unfit")).to_have_count(3)
    page.goto("choose/?balance=nonsense&shape=touching")
    assert page.url.endswith("?shape=touching")
    assert shown(page) == ["ronneberger2015unet"]


def test_nothing_that_fits_is_said(page: Page) -> None:
    chosen = {
        "labels": "scarce",
        "volume": "anisotropic",
        "effort": "plain",
        "classes": "multilabel",
        "shape": "touching",
    }
    page.goto("choose/?" + "&".join(f"{name}={value}" for name, value in chosen.items()))
    assert shown(page) == expected(chosen) == []
    expect(page.locator(".outcome output")).to_contain_text("No paper")


def test_without_javascript_it_is_a_table(page: Page, site: str) -> None:
    browser = page.context.browser
    assert browser
    context = browser.new_context(java_script_enabled=False, base_url=site)
    plain = context.new_page()
    plain.goto("choose/")
    rows = plain.locator(".choose-answers tbody tr")
    assert rows.count() == sum(bool(fits) for fits in ANSWERS.values())
    expect(rows.first).to_be_visible()
    links = plain.locator(".choose-answers a").all()
    targets = {(link.get_attribute("href") or "")[1:] for link in links}
    assert targets <= set(WITH_LOSSES)
    for key in WITH_LOSSES:
        assert plain.locator(f"#{key}").is_visible()
    context.close()


def test_the_data_of_the_answers_is_that_of_the_catalogue(page: Page) -> None:
    page.goto("choose/")
    told = page.evaluate("[...document.querySelectorAll('[data-answer]')].map(it => it.dataset.answer)")
    for text in told:
        answer = json.loads(text)
        fits = ANSWERS[answer["name"], answer["value"]]
        assert answer["fits"] == {key: list(fit.items) for key, fit in fits.items()}


def test_links_lead_somewhere(page: Page) -> None:
    page.goto("choose/")
    for link in page.locator(".choice h2 a").all():
        address = link.get_attribute("href") or ""
        assert re.fullmatch(r"\.\./papers/[a-z0-9]+/", address)
        assert address[len("../papers/") : -1] in catalog.entries()
