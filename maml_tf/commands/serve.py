"""Serves a model that adapts to many tenants, over HTTP; needs the extra serve.

    maml-tf serve --pretrained=omniglot_5way_1shot --batch_statistics=support --tenants=served/tenants

Each tenant has adapted weights of its own, in --tenants. docs/guides/server.md has requests and answers.
"""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from absl import flags, logging

from maml_tf import stopping
from maml_tf.commands import command
from maml_tf.experiments.common import binary


def experiment(values: Mapping[str, Any]) -> str:
    """Serves until a signal arrives."""
    from maml_tf.serving import server, tenants
    from maml_tf.serving.served_model import Limits, ServedModel

    tokens = server.read_tokens(values["tokens"]) if values["tokens"] else None
    limits = Limits(values["max_examples"], values["max_steps"], values["max_body_mb"] * 2**20)
    with contextlib.ExitStack() as held:
        listening = held.enter_context(server.listen(values["host"], values["port"]))
        model = ServedModel(values["saved_model"] or _exported(values, held), limits)
        in_memory = max(1, values["memory_mb"] * 2**20 // model.initial.nbytes)
        kept = tenants.Tenants(
            values["tenants"], model.initial, model.fingerprint, in_memory=in_memory, most=values["max_tenants"]
        )
        held.callback(kept.close)
        host, port = listening.getsockname()[:2]
        logging.info(
            "serving at http://%s:%d/v1/models/%s, with %d tenants, %s", host, port, values["name"], len(kept),
            "any of which a request may name" if tokens is None else "each of which has a token",
        )  # fmt: skip
        service = server.Service(model, kept, values["name"], tokens=tokens)
        with stopping.finishing_steps():  # After a signal, requests under way are answered.
            server.serve(service, listening, stopping.is_asked)
    return "Stopped"


def _exported(values: Mapping[str, Any], held: contextlib.ExitStack) -> pathlib.Path:
    """Writes a SavedModel of the learner: what is served is what an export adapts and predicts."""
    from maml_tf.experiments import trained
    from maml_tf.export import save

    folder = held.enter_context(tempfile.TemporaryDirectory())
    return save(trained.of_flags(values), folder)


def main() -> None:
    """Runs the command."""
    binary.define_trained_flags(flags)
    flags.DEFINE_string("saved_model", None, "Folder that maml-tf export or maml_tf.export.save wrote.")
    flags.DEFINE_string("name", "model", "Name of the model in the addresses.")
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen at; 0.0.0.0 for all of the machine.")
    flags.DEFINE_integer("port", 8501, "Port to listen at; 0 chooses a free one.", lower_bound=0, upper_bound=65535)
    flags.DEFINE_string("tenants", None, "Directory for the tenants' weights; it belongs to one model.")
    flags.DEFINE_string(
        "tokens",
        None,
        "JSON file with a token for each tenant. Without it, anyone who reaches the server may name any tenant.",
    )
    flags.DEFINE_integer("max_tenants", 10_000, "Largest number of tenants.", lower_bound=1)
    flags.DEFINE_integer("memory_mb", 256, "Memory in MiB for tenants' weights; the rest stay on disk.", lower_bound=1)
    flags.DEFINE_integer("max_steps", 100, "Largest number of inner steps of a request.", lower_bound=0)
    flags.DEFINE_integer("max_examples", 1000, "Largest number of examples of a set.", lower_bound=1)
    flags.DEFINE_integer("max_body_mb", 32, "Largest body of a request.", lower_bound=1)
    binary.define_task_a_thread(flags)
    flags.mark_flags_as_mutual_exclusive(["logdir", "pretrained", "saved_model"], required=True)
    flags.mark_flags_as_required(["tenants"])
    command.run(__doc__, experiment)
