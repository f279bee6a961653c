"""The rules of the package's structure, each a function from the source tree to its violations."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from tests.support.source_tree import SourceFile, SourceTree, is_under

# A module imports from floors below its own or from its own. The package itself brings floors 0 to 2.
FLOORS = (
    (
        "maml_tf.checks",
        "maml_tf.configuration",
        "maml_tf.core",
        "maml_tf.lazy",
        "maml_tf.methods",
        "maml_tf.registry",
        "maml_tf.stopping",
    ),
    (
        "maml_tf.algorithms",
        "maml_tf.diagnostics",
        "maml_tf.layers",
        "maml_tf.learner",
        "maml_tf.models",
        "maml_tf.tasks",
    ),
    (
        "maml_tf.baselines",
        "maml_tf.evaluation",
        "maml_tf.export",
        "maml_tf.few_shot",
        "maml_tf.plotting",
        "maml_tf.pretrained",
        "maml_tf.results",
        "maml_tf.rl",
        "maml_tf.training",
    ),
    ("maml_tf.experiments",),
    ("bin",),
)
FLOOR_OF_THE_PACKAGE = 2

# Packages from outside, each with the only places that may import it.
RESERVED_IMPORTS = {
    "absl.app": ("bin",),
    "absl.flags": ("bin",),
    "gymnasium": ("maml_tf.rl",),
    "imageio": ("maml_tf.rl",),
    "keras.src": (),
    "matplotlib": ("maml_tf.plotting",),
    "mujoco": ("maml_tf.rl",),
    "tensorflow_probability": ("maml_tf.rl",),
    "tf_agents": ("maml_tf.rl",),
    "tf_keras": (),
}

# The only module that may use these.
KERAS_INTERFACE = "maml_tf.core.keras_interface"
KERAS_PRIVATE_NAMES = (
    "_call_has_training_arg",
    "_clear_losses",
    "_compile_config",
    "_distribute_strategy",
    "_flatten_layers",
    "_get_call_context",
    "_keras_history",
    "_keras_mask",
    "_loss_ids",
    "_loss_tracker",
    "_losses",
    "_maybe_reset_call_context",
    "_maybe_symbolic_build",
    "_seed_generators",
    "_trainable_variables",
    "_non_trainable_variables",
    "_tracker",
)

# The inner gradient is adaptation's; the other two differentiate through it. A new entry needs a reason that
# none of the three can serve.
GRADIENT_MODULES = (
    "maml_tf.core.adaptation",
    "maml_tf.core.over_tasks",
    "maml_tf.diagnostics.second_order",
    # Forward mode and the shared primal pass of Fisher-vector products: no inner or outer gradient.
    "maml_tf.rl.hessian_products",
)
GRADIENT_NAMES = ("GradientTape", "ForwardAccumulator", "gradients", "hessians")


def floor_of(module: str) -> int | None:
    """Returns the floor of a module, or None where the table does not name it."""
    if module == "maml_tf":
        return FLOOR_OF_THE_PACKAGE
    return next((floor for floor, rooms in enumerate(FLOORS) if is_under(module, *rooms)), None)


def floors(tree: SourceTree) -> Iterator[str]:
    for source in _sources(tree):
        floor = floor_of(source.module)
        if floor is None:
            yield f"{source.path}: its floor is not named in FLOORS in tests/support/architecture.py"
            continue
        for imported in tree.internal_imports(source):
            other = floor_of(imported.name)
            if other is None:
                yield f"{source.path}:{imported.line}: imports {imported.name}, which has no floor"
            elif other > floor:
                where = f"{source.path}:{imported.line}"
                yield f"{where}: on floor {floor}, imports {imported.name} from floor {other}"
            elif is_under(imported.name, "bin"):
                yield f"{source.path}:{imported.line}: imports {imported.name}; nothing imports a binary"


def cycles(tree: SourceTree) -> Iterator[str]:
    graph = {
        source.module: sorted({i.name for i in tree.internal_imports(source)} & set(tree.files))
        for source in _sources(tree)
    }
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> Iterator[str]:
        if module in path:
            yield "cycle of imports: " + " -> ".join([*path[path.index(module) :], module])
        elif module not in finished:
            for imported in graph.get(module, ()):
                yield from visit(imported, (*path, module))
            finished.add(module)

    for module in graph:
        yield from visit(module, ())


def reserved_imports(tree: SourceTree) -> Iterator[str]:
    for source in _sources(tree):
        for imported in tree.external_imports(source):
            for package, places in RESERVED_IMPORTS.items():
                if is_under(imported.name, package) and not is_under(source.module, *places):
                    who = f"only {' and '.join(places)}" if places else "nothing"
                    yield f"{source.path}:{imported.line}: imports {imported.name}; {who} may"


def tf_keras(tree: SourceTree) -> Iterator[str]:
    """Keras 3 is `keras`; what `tf.keras` means depends on an environment variable."""
    for source in _sources(tree):
        attributes = (
            node.lineno
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute)
            and node.attr == "keras"
            and isinstance(node.value, ast.Name)
            and node.value.id in ("tf", "tensorflow")
        )
        imported = (i.line for i in tree.external_imports(source) if is_under(i.name, "tensorflow.keras"))
        for line in sorted([*attributes, *imported]):
            yield f"{source.path}:{line}: uses tf.keras; import keras"


def keras_interface(tree: SourceTree) -> Iterator[str]:
    """What a new version of Keras can break is in one module."""
    for source in _sources(tree):
        if source.module == KERAS_INTERFACE:
            continue
        used = [(n.lineno, n.attr) for n in ast.walk(source.tree) if isinstance(n, ast.Attribute)]
        for line, name in sorted(used):
            if name in KERAS_PRIVATE_NAMES:
                yield f"{source.path}:{line}: uses Keras' private {name}; {KERAS_INTERFACE} does that"


def gradients(tree: SourceTree) -> Iterator[str]:
    for source in _sources(tree):
        if source.module in GRADIENT_MODULES:
            continue
        used = [
            (node.lineno, node.attr)
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute) and _root(node) in ("tf", "tensorflow")
        ]
        imported = (i for i in tree.external_imports(source) if i.top == "tensorflow")
        used += [(i.line, i.name.rpartition(".")[2]) for i in imported]
        for line, name in sorted(used):
            if name in GRADIENT_NAMES:
                yield f"{source.path}:{line}: takes a gradient with {name}; adapt() does that"


def assertions_and_prints(tree: SourceTree) -> Iterator[str]:
    for source in tree.under("maml_tf"):
        for node in ast.walk(source.tree):
            match node:
                case ast.Assert():
                    yield f"{source.path}:{node.lineno}: asserts; raise an error that says what was expected"
                case ast.Call(func=ast.Name("print")):
                    yield f"{source.path}:{node.lineno}: prints; use absl.logging"


RULES: tuple[Callable[[SourceTree], Iterator[str]], ...] = (
    floors,
    cycles,
    reserved_imports,
    tf_keras,
    keras_interface,
    gradients,
    assertions_and_prints,
)


def _sources(tree: SourceTree) -> list[SourceFile]:
    return tree.under("maml_tf", "bin")


def _root(node: ast.Attribute) -> str | None:
    value = node.value
    while isinstance(value, ast.Attribute):
        value = value.value
    return value.id if isinstance(value, ast.Name) else None
