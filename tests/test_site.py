"""The documentation site: built as `make docs` does, read as a browser does."""

import fcntl
import functools
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest

import mnist_xai as mx

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    """The site, built once even when several workers run the tests."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder if worker_id == "master" else folder.parent
    with (folder / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "site").exists():
            command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
            done = subprocess.run(
                [*command, "-d", folder / "doctrees", "docs", folder / "unfinished"],
                cwd=ROOT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            (folder / "unfinished").rename(folder / "site")
    return folder / "site"


class Links(HTMLParser):
    """Collects what a page links to, what it loads, and its anchors."""

    def __init__(self, page):
        super().__init__()
        self.anchors, self.links, self.loads = {""}, set(), set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors.update(given[name] for name in ("id", "name") if given.get(name))
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif given.get("src"):
            self.loads.add(given["src"])
        elif tag == "link" and given.get("rel") != "canonical":
            self.loads.add(given["href"])


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Links(path) for path in site.rglob("*.html")}


def inside(target):
    return not urlparse(target).scheme


def test_every_link_and_anchor_inside_the_site_exists(site, pages):
    dead = []
    for name, page in pages.items():
        for target in filter(inside, page.links | page.loads):
            path, anchor = urldefrag(unquote(urljoin(name, target).split("?")[0]))
            path = path or name
            if not (site / path).is_file():
                dead.append(f"{name}: {target}")
            elif path in pages and unquote(anchor) not in pages[path].anchors:
                dead.append(f"{name}: {target} has no such anchor")
    assert len(pages) > 30
    assert dead == []


def test_no_page_loads_anything_from_elsewhere(pages):
    loads = {load for page in pages.values() for load in page.loads}
    assert [load for load in loads if not inside(load) and not load.startswith("data:")] == []


def test_every_public_name_is_in_the_api_reference(pages):
    anchors = set().union(*(page.anchors for name, page in pages.items() if name.startswith("api")))
    described = {anchor.rsplit(".", 1)[-1] for anchor in anchors}
    modules = {"foundations", "interpret", "plots", "quality"}
    public = {*mx.__all__, *mx.interpret.__all__, *mx.quality.__all__, *mx.plots.__all__} - modules
    assert public - described == set()


def test_every_method_is_in_the_gallery_and_among_the_choices(site):
    for page in ("gallery.html", "which_method.html"):
        text = (site / page).read_text(encoding="utf-8")
        assert [name for name in mx.METHODS if f">{name}</" not in text] == []


@pytest.fixture(scope="session")
def server(site):
    """The site on a plain local server, as `python -m http.server` serves it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}/"
        found.shutdown()


@pytest.fixture
def visit(browser, server):
    """Opens a page; in the end nothing was on the console, and nothing came from elsewhere."""
    contexts, complaints, requests = [], [], []

    def open_page(address, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{address}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"{address}: {error}"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(urljoin(server, address))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith((server, "data:"))] == []


# The theme hides what overflows the page and scrolls its content instead, so both are asked.
WIDTHS = "[...document.querySelectorAll('html, body, .content')].map(box => box.scrollWidth)"


def test_pages_are_quiet_and_never_scroll_sideways_on_a_phone_in_the_dark(visit, pages):
    wide = []
    page = visit("index.html", width=360, scheme="dark")
    for name in sorted(name for name in pages if not name.startswith(("_modules", "genindex"))):
        page.goto(urljoin(page.url, f"/{name}"))
        if max(page.evaluate(WIDTHS)) > 360:
            wide.append(name)
    assert wide == []


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_background_follows_the_colour_scheme(visit, scheme, dark):
    page = visit("index.html", scheme=scheme)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(colour.split("(")[1].split(",")[0])
    assert (red < 64) is dark


def results_of(page, word):
    page.fill("input[name=q]", word)
    page.press("input[name=q]", "Enter")
    page.wait_for_selector("#search-results ul.search li a")
    page.wait_for_function(
        "document.querySelector('.search-summary').textContent.includes('found')"
    )
    links = page.query_selector_all("#search-results ul.search li a")
    return [link.get_attribute("href") for link in links]


@pytest.mark.parametrize("word", ["integrated_gradients", "pixel_flipping", "GradCAM"])
def test_search_finds_a_method_a_metric_and_a_class_by_name(visit, word):
    found = results_of(visit("index.html"), word)
    page = {"pixel_flipping": "metrics", "GradCAM": "api/interpret"}.get(word, "methods")
    assert any(link.startswith(f"{page}.html") for link in found)


def test_search_works_on_files_without_a_server(site, opened):
    page = opened(site / "index.html")
    assert any(link.startswith("methods.html") for link in results_of(page, "integrated_gradients"))
