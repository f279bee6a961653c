"""Reads the built documentation as a visitor does, in a headless Chromium.

    python3 bin/bootstrap.py docs && python -m tests.site [--browser=PATH] [--screenshots=DIR]

Opens every page at 1280 and at 400 pixels, follows every link within the site, to its heading too, and searches. Fails
where the console has an error, a request fails or goes elsewhere, an image does not show, a page scrolls sideways, a
link leads nowhere, the search does not find, or a public name has no reference. Needs the extra browser, and Chromium.
"""

import argparse
import collections
import contextlib
import functools
import http.server
import importlib
import pathlib
import sys
import threading
import time
import urllib.parse
import zlib

from playwright.sync_api import sync_playwright

from tests.support.source_tree import PROJECT

SITE = PROJECT / "build" / "docs" / "html"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDTHS = (1280, 400)
# What is searched for, and a page that must be among the first five.
SEARCHES = {
    "half-cheetah": "results/half_cheetah.html",
    "padding_label": "guides/task_sizes.html",
    "save_litert": "guides/litert.html",
    "LearnedStepSizes": "api/maml_tf.html",
}
PACKAGES = (
    "algorithms",
    "baselines",
    "export",
    "layers",
    "models",
    "plotting",
    "pretrained",
    "rl.environments",
    "tasks",
)
PUBLIC = ("maml_tf", *(f"maml_tf.{name}" for name in (*PACKAGES, "training")))
READ_PAGE = """() => ({
    ids: [...document.querySelectorAll("[id]")].map(element => element.id),
    links: [...document.querySelectorAll("a[href]")].map(link => link.href),
    broken: [...document.images].filter(image => !image.naturalWidth).map(image => image.src),
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
})"""


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def served(folder):
    """Serves a folder; yields its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class Reader:
    """A browser's page that notes what goes wrong."""

    def __init__(self, page, address):
        self.page, self.address = page, address
        self.faults, self.ids, self.links = [], {}, collections.defaultdict(set)
        self.name = None
        page.on("console", lambda message: message.type == "error" and self.note(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.note(f"console: {error}"))
        page.on("requestfailed", lambda request: self.note(f"request failed: {request.url}"))
        page.on("response", lambda response: response.status >= 400 and self.note(f"{response.status}: {response.url}"))
        page.on("request", lambda request: self._note_elsewhere(request.url))

    def note(self, fault):
        self.faults.append(f"{self.name}: {fault}")

    def _note_elsewhere(self, url):
        if not url.startswith((self.address, "data:")):
            self.note(f"asks elsewhere: {url}")

    def read(self, name, width, screenshots):
        self.name = f"{name} at {width}"
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.goto(self.address + name, wait_until="load")
        # Images below the window are loaded when they are scrolled to.
        self.page.evaluate("() => document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
        self.page.wait_for_function("() => [...document.images].every(image => image.complete)")
        found = self.page.evaluate(READ_PAGE)
        for source in found["broken"]:
            self.note(f"image does not show: {source}")
        if found["wider"] > 0:
            self.note(f"scrolls sideways by {found['wider']} pixels")
        self.ids[name] = set(found["ids"])
        for link in found["links"]:
            if link.startswith(self.address):
                self.links[link.removeprefix(self.address)].add(name)
        if screenshots:
            path = screenshots / f"{name.removesuffix('.html').replace('/', '-')}-{width}.png"
            self.page.screenshot(path=path, full_page=True)

    def follow(self, files):
        """Notes links that lead to no page, or to no heading of one."""
        for link, sources in sorted(self.links.items()):
            path, _, anchor = urllib.parse.unquote(link).partition("#")
            path = path.partition("?")[0] or "index.html"
            path += "index.html" if path.endswith("/") else ""
            self.name = min(sources)
            if path not in files:
                self.note(f"links to {link}, which is not there")
            elif anchor and path in self.ids and anchor not in self.ids[path]:
                self.note(f"links to {link}, whose heading is not there")

    def search(self, words):
        """Returns the pages that the search finds, best first."""
        self.name = f"search for {words!r}"
        self.page.goto(f"{self.address}search.html?q={urllib.parse.quote(words)}")
        self.page.wait_for_selector("#search-results .search-summary")
        self.page.wait_for_function("() => /found|match/i.test(document.querySelector('#search-results').innerText)")
        self.page.wait_for_timeout(500)
        links = self.page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
        return [link.removeprefix(self.address).partition("#")[0].partition("?")[0] for link in links]


def undocumented():
    """Returns the public names that the reference does not have."""
    inventory = zlib.decompress((SITE / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    documented = {line.split()[0].rpartition(".")[2] for line in inventory.splitlines() if " py:" in line}
    packages = {name: importlib.import_module(name).__all__ for name in PUBLIC}
    return [f"{package}.{name}" for package, names in packages.items() for name in names if name not in documented]


def main(arguments):
    """Reads the site; returns 1 where something is wrong."""
    parser = argparse.ArgumentParser(description="Reads the built documentation in a headless Chromium.")
    parser.add_argument("--browser", default="/usr/bin/chromium", help="the program Chromium")
    parser.add_argument("--screenshots", type=pathlib.Path, help="a folder for pictures of every page")
    options = parser.parse_args(arguments)
    files = {path.relative_to(SITE).as_posix() for path in SITE.rglob("*") if path.is_file()}
    pages = sorted(name for name in files if name.endswith(".html"))
    if not pages:
        sys.exit(f"Expected the built site in {SITE}: run python3 bin/bootstrap.py docs first.")
    if options.screenshots:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with served(SITE) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=FLAGS)
        reader = Reader(browser.new_page(), address)
        for name in pages:
            listing = name.startswith("_modules/")  # Of source code: long, and all alike.
            for width in WIDTHS[listing:]:
                reader.read(name, width, None if listing else options.screenshots)
        reader.follow(files)
        for words, page in SEARCHES.items():
            found = reader.search(words)
            if page not in found[:5]:
                reader.note(f"{page} is not among the first five: {found[:5]}")
        browser.close()
    reader.faults += [f"the reference does not have {name}" for name in undocumented()]
    print(*reader.faults, sep="\n")
    links = sum(map(len, reader.links.values()))
    print(
        f"{len(pages)} pages at {' and '.join(map(str, WIDTHS))} pixels, {links} links, {len(SEARCHES)} searches:",
        end=" ",
    )
    print(f"{len(reader.faults)} faults in {time.perf_counter() - began:.0f} s")
    return int(bool(reader.faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
