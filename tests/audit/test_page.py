import re
from pathlib import Path

import pytest

import mnist_xai as mx
from mnist_xai.quality import CONTROLS


@pytest.fixture
def page(audited, opened):
    return opened(audited.path)


def test_every_figure_has_a_caption_and_an_alternative_text(page):
    figures = page.locator("figure")
    assert figures.count() >= 5
    for number in range(figures.count()):
        figure = figures.nth(number)
        assert len(figure.locator("figcaption").inner_text()) > 20
        assert len(figure.locator("img").get_attribute("alt")) > 20
        assert figure.locator("img").evaluate("e => e.complete && e.naturalWidth > 100")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_in_light_and_dark_mode(audited, opened, scheme):
    page = opened(audited.path, color_scheme=scheme)
    assert page.title() == "Audit of small"
    assert page.locator("section#warnings li").count() >= 2


def test_every_leaderboard_can_be_sorted_by_every_column(page):
    tables = page.locator("section[id^=leaderboard] table")
    assert tables.count() >= 4
    for number in range(tables.count()):
        table = tables.nth(number)
        rows = sorted(table.locator("tbody tr").all_inner_texts())
        buttons = table.locator("th button")
        for column in range(buttons.count()):
            buttons.nth(column).click()
            assert sorted(table.locator("tbody tr").all_inner_texts()) == rows
            keys = table.locator(f"tbody td:nth-child({column + 1})").evaluate_all(
                "cells => cells.map(c => c.dataset.key)"
            )
            values = [float(key) for key in keys if key]
            assert values == sorted(values)


def test_every_leaderboard_lists_the_controls(page):
    tables = page.locator("section[id^=leaderboard] table")
    assert tables.count() >= 4
    for number in range(tables.count()):
        names = tables.nth(number).locator("tbody td:first-child").all_inner_texts()
        assert {f"{c.replace('_', ' ')} (control)" for c in CONTROLS} <= set(names)


def test_a_method_is_marked_better_only_if_the_interval_is_above_zero(page, audited):
    better = page.locator('td.good[title*="mean difference"]')
    for number in range(better.count()):
        interval = re.search(r"interval (\S+) to", better.nth(number).get_attribute("title"))
        assert float(interval[1]) > 0
    worse = page.locator('td.bad[title*="mean difference"]')
    assert worse.count() > 0
    for number in range(worse.count()):
        interval = re.search(r"interval (\S+) to", worse.nth(number).get_attribute("title"))
        assert not float(interval[1]) > 0


def test_a_method_that_cannot_explain_the_model_is_a_warning_that_names_the_layer(page):
    warnings = page.locator("section#warnings li").all_inner_texts()
    assert "Refuses cannot explain this model: conv: not supported by this method." in warnings


def test_tags_in_the_name_of_a_method_are_shown_as_text(page):
    assert page.locator("table b").count() == 0
    assert page.get_by_text("<b>dead</b>", exact=True).count() >= 1


def test_the_page_fits_a_narrow_window(page):
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_page_is_below_5_mb_and_no_table_is_cut_off_in_print(page, audited):
    assert audited.path.stat().st_size < 5_000_000
    pdf = page.pdf(format="A4")
    assert pdf[:4] == b"%PDF"
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 794, "height": 1123})
    too_wide = page.locator("table").evaluate_all(
        "tables => tables.filter(t => t.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert too_wide == 0


def test_every_link_of_the_page_has_a_target(page, audited):
    links = page.locator("a").evaluate_all("links => links.map(a => a.getAttribute('href'))")
    assert len(links) >= 3
    for href in links:
        if href.startswith("#"):
            assert page.locator(f"section[id='{href[1:]}']").count() == 1
        else:
            assert (audited.path.parent / href).is_file()


DOCS = Path(__file__).parents[2] / "docs"


def test_the_audit_in_the_documentation_lists_every_method_and_links_to_no_other_file(opened):
    page = opened(DOCS / "audit.html")
    assert page.title() == "Audit of cnn.keras"
    rows = page.locator("section#cost-of-each-method td:first-child").all_inner_texts()
    assert rows == [name.replace("_", " ") for name in [*mx.METHODS, *CONTROLS]]
    assert (DOCS / "audit.html").stat().st_size < 5_000_000
    assert page.locator("a:not([href^='#'])").count() == 0
