"""The methods that experiments train and compare under a name: MAML, its variants and the baselines.

Flags, tables and figures of all domains take names, labels and styles from here. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from maml_tf.registry import Registry


class LineStyle(NamedTuple):
    """How figures draw a method; the marker and the line tell methods apart without colour.

    Attributes:
        color: One of `maml_tf.plotting.style.PALETTE`, or any that matplotlib takes.
        line: Line style, as matplotlib takes it.
        marker: Marker of a point, as matplotlib takes it.
    """

    color: str
    line: Any
    marker: str


@dataclasses.dataclass(frozen=True)
class Method:
    """A method: how it is shown, and how each domain builds it.

    Attributes:
        label: Name in figures.
        settings: From each domain that can train it ("sinusoid", "classification", "meta_rl") to the fields of that
            domain's configuration that it sets.
        build: From a domain to what builds the method there, called with the method's name and the configuration, or
            its place as "module:name", imported at first use: see `maml_tf.experiments.sinusoid.train` for
            "sinusoid", `maml_tf.rl.methods` for "meta_rl". Without it the method is the domain's own meta-learner.
        algorithm: Name in `maml_tf.algorithms.algorithms`, with which the domain's own meta-learner trains.
        style: How figures draw it; None for one of the styles left over.

    Example:
    >>> from maml_tf.methods import methods, names
    >>> methods["anil"].settings
    {'classification': {'adapted': 'head'}}
    >>> "anil" in names("classification"), "anil" in names("sinusoid")
    (True, False)
    """

    label: str
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    build: Mapping[str, str | Callable[..., Any]] = dataclasses.field(default_factory=dict)
    algorithm: str = "maml"
    style: LineStyle | None = None

    def builder(self, domain: str) -> Callable[..., Any] | None:
        """Returns what builds the method in a domain, None for the domain's own meta-learner."""
        build = self.build.get(domain)
        if isinstance(build, str):
            module, _, name = build.partition(":")
            return getattr(importlib.import_module(module), name)
        return build

    def applied(self, domain: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns `given`, fields of a domain's configuration, with those that the method sets.

        Raises:
            ValueError: If a field is given another value than the method's.
        """
        for field, value in self.settings.get(domain, {}).items():
            if given.get(field, value) != value:
                raise ValueError(
                    f"Expected {field}={value!r}, as {self.label} has it. Received: {field}={given[field]!r}"
                )
        return {**given, **self.settings.get(domain, {})}


methods: Registry[Method] = Registry("method")


def names(domain: str) -> tuple[str, ...]:
    """Lists the methods that a domain can train, in the order of registration."""
    return tuple(name for name, method in methods.items() if domain in method.settings)


def label(name: str) -> str:
    """Returns the label of a method, and the name itself of one that is not registered."""
    return methods[name].label if name in methods else name


_RL = "maml_tf.rl."
_SINUSOID, _META_RL = "maml_tf.experiments.sinusoid.train:", "maml_tf.rl.methods:"
_FIRST_ORDER = {"first_order": True}
_CONTEXT = {"adapted": "context"}

for _name, _method in {
    "maml": Method("MAML", {"sinusoid": {}, "classification": {}, "meta_rl": {}}, style=LineStyle("green", "-", "o")),
    "maml_first_order": Method(
        "MAML, first order",
        {"sinusoid": _FIRST_ORDER, "classification": _FIRST_ORDER, "meta_rl": _FIRST_ORDER},
        style=LineStyle("blue", "--", "D"),
    ),
    "anil": Method("ANIL", {"classification": {"adapted": "head"}}, style=LineStyle("sky", "-", "X")),
    "anil_first_order": Method(
        "ANIL, first order", {"classification": {"adapted": "head", **_FIRST_ORDER}}, style=LineStyle("sky", "--", "<")
    ),
    "boil": Method(
        "BOIL",
        {"classification": {"adapted": "body", "head": "glorot_uniform"}},
        style=LineStyle("orange", ":", "$B$"),
    ),
    "meta_sgd": Method("Meta-SGD", {"classification": {"step_sizes": "weight"}}, style=LineStyle("blue", "-", "h")),
    "meta_curvature": Method(
        "Meta-Curvature",
        {"sinusoid": {}, "classification": {"curvature": True}},
        {"sinusoid": _SINUSOID + "Curved"},
        style=LineStyle("blue", ":", "$C$"),
    ),
    "maml_plus_plus": Method(
        "MAML++",
        {
            "classification": {
                "adapted": "weights",
                "step_sizes": "layer_and_step",
                "per_step_norm": True,
                "meta_learning_rate_decay": "cosine",
            }
        },
        algorithm="maml_plus_plus",
        style=LineStyle("green", "--", "$M$"),
    ),
    "implicit_maml": Method(
        "implicit MAML",
        {"sinusoid": {}, "classification": {}},
        algorithm="implicit_maml",
        style=LineStyle("green", "-.", "$I$"),
    ),
    "reptile": Method(
        "Reptile", {"sinusoid": {}, "classification": {}}, algorithm="reptile", style=LineStyle("orange", "-", "x")
    ),
    "proto_maml": Method(
        "Proto-MAML", {"classification": {}}, algorithm="proto_maml", style=LineStyle("purple", "-", "$Q$")
    ),
    "prototypical": Method(
        "prototypical networks",
        {"classification": {}},
        algorithm="prototypical",
        style=LineStyle("purple", "--", "$P$"),
    ),
    "matching": Method(
        "matching networks", {"classification": {}}, algorithm="matching", style=LineStyle("purple", "-.", "$N$")
    ),
    "context_vector": Method(
        "context vector",
        {"classification": _CONTEXT, "meta_rl": {}},
        {"meta_rl": _META_RL + "context_vector"},
        style=LineStyle("vermilion", "-", "d"),
    ),
    "context_vector_first_order": Method(
        "context vector, first order",
        {"classification": {**_CONTEXT, **_FIRST_ORDER}},
        style=LineStyle("vermilion", "--", "p"),
    ),
    "pretrained": Method(
        "pretrained",
        {"sinusoid": {}, "classification": {}, "meta_rl": {}},
        {"sinusoid": _SINUSOID + "Pretraining", "meta_rl": _META_RL + "pretrained"},
        style=LineStyle("orange", "-.", "s"),
    ),
    "random": Method(
        "random weights",
        {"sinusoid": {}, "classification": {}, "meta_rl": {}},
        {"sinusoid": _SINUSOID + "FineTuning", "meta_rl": _META_RL + "random"},
        style=LineStyle("purple", (0, (5, 1, 1, 1, 1, 1)), "P"),
    ),
    "oracle": Method(
        "oracle",
        {"sinusoid": {}, "meta_rl": {}},
        {"sinusoid": _SINUSOID + "Oracle", "meta_rl": _META_RL + "oracle"},
        style=LineStyle("grey", ":", "v"),
    ),
    "multi_task": Method(
        "multi-task, no reg",
        {"sinusoid": {}},
        {"sinusoid": _SINUSOID + "MultiTask"},
        style=LineStyle("vermilion", (0, (4, 2)), "^"),
    ),
    "multi_task_l2": Method(
        "multi-task, l2", {"sinusoid": {}}, {"sinusoid": _SINUSOID + "MultiTaskL2"}, style=LineStyle("sky", "-.", ">")
    ),
    "multi_task_mean": Method(
        "multi-task, reg to mean",
        {"sinusoid": {}},
        {"sinusoid": _SINUSOID + "MultiTaskMean"},
        style=LineStyle("black", ":", "*"),
    ),
    "promp": Method(
        "ProMP", {"meta_rl": {}}, {"meta_rl": _RL + "promp:promp"}, style=LineStyle("vermilion", "-.", "$R$")
    ),
    "e_maml": Method(
        "E-MAML", {"meta_rl": {}}, {"meta_rl": _RL + "e_maml:e_maml"}, style=LineStyle("green", ":", "$E$")
    ),
    "maml_ppo": Method(
        "MAML with PPO", {"meta_rl": {}}, {"meta_rl": _RL + "maml_ppo:maml_ppo"}, style=LineStyle("black", "-.", "$O$")
    ),
    # Measured beside the two classifiers, never trained.
    "nearest_neighbour": Method("nearest neighbour", style=LineStyle("black", "-", "H")),
    "nearest_neighbour_random": Method("nearest neighbour, random weights", style=LineStyle("grey", "--", "8")),
}.items():
    methods.register(_name, _method)
