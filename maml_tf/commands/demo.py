"""Shows a page to try maml_tf in the browser: characters, sinusoids, navigation; needs the extra demo.

    maml-tf demo --open_browser

The tab of navigation needs the extra rl too.
"""

from __future__ import annotations

import importlib.util
import sys
import webbrowser
from collections.abc import Mapping
from typing import Any

from absl import flags

from maml_tf import stopping
from maml_tf.commands import command
from maml_tf.demo import TABS
from maml_tf.experiments.common import binary


def experiment(values: Mapping[str, Any]) -> str:
    """Shows the page until a signal comes."""
    if importlib.util.find_spec("bokeh") is None:
        raise ValueError(
            "Expected the extra demo to be installed: in the project's folder, run pip install '.[demo,rl]'. "
            "Received: no bokeh"
        )
    from maml_tf.demo import app
    from maml_tf.serving.server import listen

    def ready(address):
        sys.stdout.write(f"The demo is at {address}; Ctrl+C ends it\n")
        sys.stdout.flush()
        if values["open_browser"]:
            webbrowser.open(address)

    with listen("127.0.0.1", values["port"]) as listening:
        fill = app.load(values["tab"])
        with stopping.finishing_steps():
            app.serve(fill, listening, stopping.is_asked, ready)
    return "Stopped"


def main() -> None:
    """Runs the command."""
    flags.DEFINE_integer("port", 5006, "Port of the page; 0 chooses a free one.", lower_bound=0, upper_bound=65535)
    flags.DEFINE_bool("open_browser", False, "Whether to open the page in the browser.")
    flags.DEFINE_multi_enum("tab", list(TABS), list(TABS), "Tab to show; by default all.")
    binary.define_task_a_thread(flags)
    command.run(__doc__, experiment)
