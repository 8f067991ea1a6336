"""The HTML page: its structure, and its behaviour in a browser."""

import re
from html.parser import HTMLParser

import pytest

from mnist_xai.plots import learning_curves
from mnist_xai.report import Cell, Section, html_page, png


class Page(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page():
    history = {"loss": [3], "val_loss": [4], "accuracy": [0.1], "val_accuracy": [0]}
    evil = "<script>alert('x')</script>"
    sections = [
        Section("Curves", "They fall.", png(learning_curves(history))),
        Section("Classes", "Each.", table=[["class", "n"], [evil, "3"]]),
    ]
    return Page(html_page(f"Run on {evil}", [evil], sections, {'a"b.png': "a picture"}))


def test_the_page_refers_to_no_other_file(page):
    assert [a["src"][:22] for tag, a in page.tags if tag == "img"] == ["data:image/png;base64,"]
    assert [a["href"] for tag, a in page.tags if tag == "link"] == ["data:,"]
    assert [a for tag, a in page.tags if tag == "script"] == [{}]


def test_every_picture_has_a_caption_and_an_alternative_text(page):
    assert [a["alt"] for tag, a in page.tags if tag == "img"] == ["Curves. They fall."]
    assert [tag for tag, _ in page.tags if tag == "figcaption"] == ["figcaption"]


def test_all_text_is_escaped(page):
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.text.count("<script>alert('x')</script>") == 4  # Title twice, summary, table.
    assert [a["href"] for tag, a in page.tags if tag == "a"] == ['a"b.png']


def test_a_table_has_a_head_and_rows(page):
    assert [tag for tag, _ in page.tags].count("th") == 2
    assert [tag for tag, _ in page.tags].count("td") == 2


TABLE = [
    [Cell("method", hint="Name of the method."), "share", Cell("time")],
    [Cell("b", mark="bad", hint="Not good."), "12.5 %", Cell("1 min", 60)],
    ["a", "–", Cell("never", float("nan"))],
    ["c", "1,000 %", Cell("2 s", 2)],
    ["<b>d</b>", "-3 %", Cell("0.5 s", 0.5)],
]


@pytest.fixture
def table(tmp_path, opened):
    path = tmp_path / "page.html"
    evil = "<img src=x onerror=alert(1)><script>document.title = 'evil'</script>"
    sections = [Section("Results & more", evil, table=TABLE, points=[evil])]
    path.write_text(html_page("Title", [], sections, {}))
    return opened(path)


def column(page, number):
    return page.locator(f"tbody td:nth-child({number})").all_inner_texts()


def test_a_column_of_numbers_is_sorted_as_numbers(table):
    table.get_by_role("button", name="share").click()
    assert column(table, 2) == ["-3 %", "12.5 %", "1,000 %", "–"]
    table.get_by_role("button", name="share").click()
    assert column(table, 2) == ["1,000 %", "12.5 %", "-3 %", "–"]
    assert table.locator("th[aria-sort]").all_inner_texts() == ["share"]
    table.get_by_role("button", name="time").press("Enter")
    assert column(table, 3) == ["0.5 s", "2 s", "1 min", "never"]
    table.get_by_role("button", name="method").click()
    assert column(table, 1) == ["<b>d</b>", "a", "b", "c"]


def test_a_script_in_a_name_is_not_run(table):
    assert table.title() == "Title"
    assert table.locator("li").inner_text().startswith("<img src=x")
    assert table.locator("img").count() == 0


def test_a_mark_is_shown_by_a_character_as_well_as_by_colour(table):
    cell = table.locator("td.bad")
    mark = cell.evaluate("e => getComputedStyle(e, '::before').content")
    assert (cell.inner_text(), mark) == ("b", '"! "')
    assert cell.get_attribute("title") == "Not good."


@pytest.mark.parametrize(("scheme", "light"), [("light", True), ("dark", False)])
def test_the_page_follows_the_colour_scheme_of_the_reader(tmp_path, opened, scheme, light):
    path = tmp_path / "page.html"
    path.write_text(html_page("Title", ["Text."], [], {}))
    page = opened(path, color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) > 384) == light


def test_in_a_narrow_window_the_table_scrolls_and_the_page_does_not(table):
    table.set_viewport_size({"width": 320, "height": 600})
    table.locator("table").evaluate("e => e.style.width = '900px'")
    assert table.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_long_page_has_a_table_of_contents(tmp_path, opened):
    path = tmp_path / "page.html"
    sections = [Section(f"Part {i}: what's in it?", "Text.") for i in range(5)]
    path.write_text(html_page("Title", [], sections, {}))
    page = opened(path)
    page.get_by_role("link", name="Part 3").click()
    assert page.url.endswith("#part-3-what-s-in-it")
    assert page.locator("section#part-3-what-s-in-it h2").count() == 1
