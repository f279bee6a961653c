"""Uses the page of bin/demo.py as a visitor does, in a headless Chromium, and times its answers.

    python -m tests.demo_browser [--browser=PATH] [--address=URL] [--screenshots=DIR]
    python -m tests.demo_browser [--browser=PATH] [--address=URL] --film=PATH

Draws five characters with the mouse, lets the network learn them, draws another and reads the answer; clicks points and
reads the fits; clicks a goal and reads the paths; does the same with a finger on a screen of 400 pixels. Fails where an
answer is wrong or takes over a second, the browser's console has an error, or a page is wider than the screen. Needs
the extras demo and rl, the package playwright, and Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import time

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from maml_tf.demo.drawings import example
from maml_tf.demo.navigation import LIMIT
from tests.support.source_tree import PROJECT

LONGEST_SECONDS, FRAMES_PER_SECOND = 1.0, 8
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Where a plot's frame is on the screen; it is scrolled into sight before.
_FRAME = """(name) => {
    const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name))
    view.el.scrollIntoView({block: "nearest"})
    const outer = view.el.getBoundingClientRect(), inner = view.frame.bbox
    return [outer.left + inner.left, outer.top + inner.top, inner.width, inner.height]
}"""
_COLUMNS = """(name) => {
    const source = Bokeh.documents[0].get_model_by_name(name)
    const plain = (value) => typeof value === "number" ? value : Array.from(value)
    return Object.fromEntries(source.columns().map((key) => [key, Array.from(source.get_column(key), plain)]))
}"""


# Pictures of a page have no pointer.
_POINTER = """document.addEventListener("DOMContentLoaded", () => {
    const pointer = document.createElement("div")
    pointer.style.cssText = "position: fixed; width: 18px; height: 18px; margin: -9px; border-radius: 9px; z-index: 9;"
        + "background: rgba(213, 94, 0, .55); pointer-events: none;"
    document.body.append(pointer)
    document.addEventListener("pointermove", (event) => {
        pointer.style.left = `${event.clientX}px`
        pointer.style.top = `${event.clientY}px`
    }, true)
})"""
_LOOK_SECONDS = 0.02
_SCREEN, _FILM_WIDTH, _POINTS_A_FRAME = (1000, 770), 800, 10


class Mouse:
    """Draws and clicks with a mouse."""

    def __init__(self, page):
        self._mouse = page.mouse

    def stroke(self, points, pause):
        self._mouse.move(*points[0])
        self._mouse.down()
        for number, point in enumerate(points[1:]):
            self._mouse.move(*point)
            if number % _POINTS_A_FRAME == 0:
                pause()
        self._mouse.up()

    def tap(self, point):
        self._mouse.click(*point)


class Finger:
    """Draws and taps with a finger."""

    def __init__(self, page):
        self._page, self._session = page, page.context.new_cdp_session(page)

    def _send(self, kind, points):
        touches = [{"x": x, "y": y} for x, y in points]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def stroke(self, points, pause):
        del pause
        self._send("touchStart", points[:1])
        for point in points[1:]:
            self._send("touchMove", [point])
        self._send("touchEnd", [])

    def tap(self, point):
        self._page.touchscreen.tap(*point)


class Visitor:
    """A visitor of the page."""

    def __init__(self, page, address, hand):
        self.page, self.hand = page, hand(page)
        self.took, self.faults, self.film = {}, [], None
        page.on("console", lambda message: message.type == "error" and self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(address)
        page.locator(".learn").wait_for()

    def open(self, title):
        self.page.locator(".bk-tab", has_text=title).click()
        self.rest(0.4)

    def text(self, name):
        return self.page.locator(f".{name} .bk-clearfix").inner_text()

    def columns(self, name):
        return self.page.evaluate(_COLUMNS, name)

    def press(self, name):
        self.page.locator(f".{name} button").click()

    def place(self, name, x, y):
        """Returns the pixel of a place in a plot: x and y from 0 to 1, y downwards."""
        left, top, width, height = self.page.evaluate(_FRAME, name)
        return left + x * width, top + y * height

    def draw(self, name, strokes):
        for stroke in strokes:
            self.hand.stroke([self.place(name, *point) for point in stroke], self.frame)

    def timed(self, what, act, name, pattern):
        """Acts, and waits until a text is another one, of a pattern; returns it."""
        before = self.text(name)
        act()
        began = time.perf_counter()
        while (said := self.text(name)) == before or not re.search(pattern, said):
            if time.perf_counter() - began > 20:
                raise AssertionError(f"{what}: expected {pattern!r}. Received: {said!r}")
            self.frame()
            self.page.wait_for_timeout(1000 * _LOOK_SECONDS)  # Looking all the time would take the server's processor.
        self.took.setdefault(what, []).append(time.perf_counter() - began)
        return said

    def frame(self):
        """Takes a picture for the film, if there is one."""
        if self.film is not None:
            self.film.append(self.page.screenshot(type="png"))

    def rest(self, seconds):
        if self.film is None:
            self.page.wait_for_timeout(1000 * seconds)
            return
        for _ in range(round(seconds * FRAMES_PER_SECOND)):
            self.page.wait_for_timeout(1000 / FRAMES_PER_SECOND)
            self.frame()


def characters(visitor):
    """Draws five characters, learns them, draws each again; the adapted network must name four of five."""
    visitor.open("Characters")
    for number in range(5):
        visitor.draw(f"character_{number + 1}", example(number, seed=number))
    expect("5 of 5 characters are drawn", visitor.text("characters_status"))
    visitor.timed("learn five characters", lambda: visitor.press("learn"), "characters_status", "Learned from five")
    for number in range(5):
        if number:  # Strokes on a drawing that is about to be cleared would be lost.
            visitor.timed("next drawing", lambda: visitor.press("next_query"), "answer", "Draw one")
        visitor.timed(
            "name a drawing",
            lambda number=number: visitor.draw("query", example(number, drawing=1, seed=10 + number)),
            "answer",
            r"number \d",
        )  # fmt: skip
        visitor.timed(
            "count an answer",
            lambda number=number: visitor.page.locator(".truth button").nth(number).click(),
            "score",
            rf"after adaptation\s+\d of {number + 1}",
        )
    right = int(re.search(r"after adaptation\s+(\d) of 5", visitor.text("score"))[1])
    if right < 4:
        raise AssertionError(f"Expected at least 4 of 5 drawings to be named rightly. Received: {right}")


def sinusoid(visitor):
    """Clicks points of a sinusoid; MAML's network must be near it after ten steps, the other not."""
    visitor.open("Sinusoid")
    visitor.timed("clear", lambda: visitor.press("clear_points"), "sinusoid_status", "first point")
    for count, x in enumerate((-4.0, -2.6, -0.5, 1.5, 3.5), start=1):
        place = visitor.place("sinusoid_plot", (x + 5) / 10, 0.5 - 3 * np.sin(x) / 11)
        visitor.timed("fit points", lambda place=place: visitor.hand.tap(place), "sinusoid_status", f"^{count} point")
    errors = {}
    for name in ("sinusoid", "sinusoid_pretrained"):
        fit = visitor.columns(f"{name}_10")
        errors[name] = np.mean((np.array(fit["y"]) - 3 * np.sin(fit["x"])) ** 2)
    if not errors["sinusoid"] < 0.6 < errors["sinusoid_pretrained"]:
        raise AssertionError(f"Expected an error under 0.6 of MAML alone. Received: {errors}")
    visitor.timed("new sinusoid", lambda: visitor.press("new_sinusoid"), "sinusoid_status", "^5 points")
    visitor.press("show_truth")
    visitor.rest(0.3)


def navigation(visitor):
    """Clicks goals; the paths after three steps must end near them, those before not."""
    visitor.open("2D navigation")
    for goal in ((-0.4, 0.3), (0.3, -0.45), (0.45, 0.1)):
        place = visitor.place("navigation_0", *(0.5 + np.array([goal[0], -goal[1]]) / (2 * LIMIT)))
        said = visitor.timed(
            "adapt to a goal", lambda place=place: visitor.hand.tap(place), "navigation_status", "3 gradient steps"
        )
        clicked = [float(number) for number in re.findall(r"-?\d\.\d+", said)]
        if np.abs(np.subtract(clicked, goal)).max() > 0.02:
            raise AssertionError(f"Expected the goal {goal}. Received: {said!r}")
        ends = {}
        for step in (0, 3):
            walks = visitor.columns(f"walk_{step}")
            last = [(x[-1], y[-1]) for x, y in zip(walks["xs"], walks["ys"], strict=True)]
            ends[step] = np.mean(np.linalg.norm(np.array(last) - goal, axis=1))
        if not ends[3] < 0.1 < ends[0]:
            raise AssertionError(f"Expected walks to end within 0.1 of the goal after 3 steps alone. Received: {ends}")
        visitor.rest(2.0)


PARTS = {"characters": characters, "sinusoid": sinusoid, "navigation": navigation}


def expect(pattern, said):
    if not re.search(pattern, said):
        raise AssertionError(f"Expected {pattern!r}. Received: {said!r}")


@contextlib.contextmanager
def served(address):
    """Runs bin/demo.py, unless there is an address; yields the address and the seconds that the start took."""
    if address:
        yield address, 0.0
        return
    began = time.perf_counter()
    command = [sys.executable, PROJECT / "bin" / "demo.py", "--port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if (address := re.search(r"http://[^;\s]+", line)) is None:
            raise RuntimeError(f"Expected the line with the address. Received: {line!r}")
        yield address[0], time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def visit(browser, address, width, hand, screenshots):
    """Uses all tabs; returns what was timed, and the faults."""
    phone = hand is Finger
    context = browser.new_context(viewport={"width": width, "height": 850}, has_touch=phone, is_mobile=phone)
    visitor = Visitor(context.new_page(), address, hand)
    for name, part in PARTS.items():
        part(visitor)
        wide = visitor.page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            visitor.faults.append(f"{name}: {wide} pixels wide on a screen of {width}")
        if screenshots:
            visitor.page.screenshot(path=screenshots / f"demo_{name}_{width}.png", full_page=True)
    context.close()
    return visitor.took, visitor.faults


def make_film(browser, address, path):
    """Films a short visit of all tabs."""
    context = browser.new_context(viewport=dict(zip(("width", "height"), _SCREEN, strict=True)))
    page = context.new_page()
    page.add_init_script(_POINTER)
    visitor = Visitor(page, address, Mouse)
    visitor.film = []
    visitor.rest(0.4)
    for number in range(5):
        visitor.draw(f"character_{number + 1}", example(number))
    visitor.press("learn")
    visitor.rest(0.4)
    visitor.draw("query", example(3, drawing=1, seed=1))
    visitor.rest(1.5)
    visitor.open("Sinusoid")
    visitor.press("clear_points")
    for x in (-4.2, -2.9, -1.5, -0.4, 0.8):
        visitor.hand.tap(visitor.place("sinusoid_plot", (x + 5) / 10, 0.5 - 3.5 * np.sin(x + 0.7) / 11))
        visitor.rest(0.4)
    visitor.rest(1)
    visitor.open("2D navigation")
    for goal in ((-0.4, 0.25), (0.3, -0.4)):
        visitor.hand.tap(visitor.place("navigation_0", *(0.5 + np.array([goal[0], -goal[1]]) / (2 * LIMIT))))
        visitor.rest(2.0)
    context.close()
    size = _FILM_WIDTH, round(_FILM_WIDTH * _SCREEN[1] / _SCREEN[0])
    pictures = [
        Image.open(io.BytesIO(shot)).convert("RGB").resize(size, Image.Resampling.LANCZOS) for shot in visitor.film
    ]
    options = {"quality": 75, "method": 6} if path.suffix == ".webp" else {"optimize": True}
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=1000 // FRAMES_PER_SECOND, loop=0, **options
    )
    seconds, size = len(pictures) / FRAMES_PER_SECOND, path.stat().st_size
    print(f"{path}: {seconds:.1f} s, {size / 1e6:.2f} MB")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", default="/usr/bin/chromium", help="Chromium's program")
    parser.add_argument("--address", help="page to visit, by default one that is started for the visit")
    parser.add_argument("--screenshots", type=pathlib.Path, help="folder for pictures of every tab")
    parser.add_argument("--film", type=pathlib.Path, help="file of a short film to make instead, .webp or .gif")
    options = parser.parse_args(arguments)
    if options.screenshots:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    with served(options.address) as (address, start), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=FLAGS)
        if options.film:
            make_film(browser, address, options.film)
            return
        lines, faults = ["| what | screen | times | median, ms | longest, ms |", "|---|---|---|---|---|"], []
        for width, hand in ((1280, Mouse), (400, Finger)):
            took, found = visit(browser, address, width, hand, options.screenshots)
            faults += found
            for what, seconds in took.items():
                ms = 1000 * np.array(seconds)
                lines.append(f"| {what} | {width} | {len(ms)} | {np.median(ms):.0f} | {ms.max():.0f} |")
                if ms.max() > 1000 * LONGEST_SECONDS:
                    faults.append(f"{what} took {ms.max():.0f} ms on a screen of {width}")
        browser.close()
    load = f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f}"
    print(f"{load}, ready {start:.1f} s after the start\n\n" + "\n".join(lines))
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main(sys.argv[1:])
