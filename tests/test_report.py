from html.parser import HTMLParser

import pytest

from mnist_xai.plots import learning_curves
from mnist_xai.report import Section, html_page, png


class Page(HTMLParser):
    """Collects tags with their attributes, and the text."""

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


def test_the_page_needs_nothing_beside_it(page):
    assert [a["src"][:22] for tag, a in page.tags if tag == "img"] == ["data:image/png;base64,"]
    assert not [
        tag for tag, a in page.tags if tag in {"script", "link"} and a.get("href") != "data:,"
    ]


def test_every_picture_has_a_caption_and_an_alternative_text(page):
    assert [a["alt"] for tag, a in page.tags if tag == "img"] == ["Curves. They fall."]
    assert [tag for tag, _ in page.tags if tag == "figcaption"] == ["figcaption"]


def test_texts_are_escaped(page):
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert('x')</script>") == 4  # Title twice, summary, table.
    assert [a["href"] for tag, a in page.tags if tag == "a"] == ['a"b.png']


def test_tables_have_a_head_and_their_rows(page):
    assert [tag for tag, _ in page.tags].count("th") == 2
    assert [tag for tag, _ in page.tags].count("td") == 2
