"""The page: its tabs, and the server that shows it on this machine."""

from __future__ import annotations

import asyncio
import importlib
import logging
import pathlib
import socket
from collections.abc import Callable, Sequence

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.models import TabPanel, Tabs
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from maml_tf.demo import TABS, widgets

_LOOK_SECONDS = 0.1
_PAGE = pathlib.Path(__file__).with_name("page.html")
_HEADERS = """
.bk-header { border-bottom: 1px solid #d5dce3; }
:host(.bk-above) .bk-tab { border-width: 0 0 3px; border-radius: 0; padding: 9px 14px; font-size: 16px;
  font-family: Helvetica, Arial, sans-serif; color: #66737f; }
.bk-tab.bk-active { color: #00664a; background: none; border-color: #009e73; }
.bk-tab:focus:not(:focus-visible) { outline: none; }
"""


def load(names: Sequence[str] = tuple(TABS)) -> Callable[[Document], None]:
    """Loads the models of tabs and compiles their functions, so that each answer takes less than a second.

    Args:
        names: The tabs, of `TABS`. One whose extra is not installed says what to install.

    Returns:
        A function that fills a visitor's document.

    Raises:
        ValueError: If there is no such tab.
    """
    if not names or not set(names) <= set(TABS):
        raise ValueError(f"Expected tabs of {', '.join(TABS)}. Received: {', '.join(names) or 'none'}")
    makers = [(TABS[name], _maker(name)) for name in dict.fromkeys(names)]

    def fill(document: Document) -> None:
        panels = [TabPanel(title=title, child=make()) for title, make in makers]
        tabs = Tabs(tabs=panels, sizing_mode="stretch_width", stylesheets=[_HEADERS], name="tabs")
        document.title = "maml_tf"
        document.template = _PAGE.read_text(encoding="utf-8")
        document.add_root(tabs)

    return fill


def _maker(name):
    """Returns a function that makes a tab's layout for a visitor."""
    try:
        module = importlib.import_module(f"maml_tf.demo.{name}")
        shared = module.load()
    except ImportError as error:
        said = str(error)
        return lambda: widgets.text(f"<p>{said}</p>", name=f"{name}_missing")
    return lambda: module.Tab(shared).content


def serve(
    fill: Callable[[Document], None],
    listening: socket.socket,
    is_over: Callable[[], bool],
    ready: Callable[[str], None],
) -> None:
    """Shows the page until `is_over`.

    Args:
        fill: Fills a visitor's document; of `load`.
        listening: Of `maml_tf.serving.server.listen`; it is closed at the end.
        is_over: Asked ten times a second.
        ready: Called with the page's address when it can be opened.
    """
    for name in ("bokeh", "tornado"):  # They log every request.
        logging.getLogger(name).setLevel(logging.ERROR)
    host, port = listening.getsockname()[:2]

    async def run():
        # Pages of other origins cannot use it.
        origins = [f"{name}:{port}" for name in ("localhost", host)]
        application = BokehTornado({"/": Application(FunctionHandler(fill))}, extra_websocket_origins=origins)
        http_server = HTTPServer(application)
        http_server.add_socket(listening)
        server = BaseServer(IOLoop.current(), application, http_server)
        server.start()
        ready(f"http://localhost:{port}")
        while not is_over():
            await asyncio.sleep(_LOOK_SECONDS)
        server.stop()

    try:
        asyncio.run(run())
    finally:
        listening.close()
