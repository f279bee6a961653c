"""The rules of the package's structure, each a function from the source tree to its violations."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from tests.support.source_tree import SourceFile, SourceTree, imports, is_under

# A module imports from floors below its own or from its own. The package itself brings floors 0 to 2.
FLOORS = (
    (
        "maml_tf.checks",
        "maml_tf.configuration",
        "maml_tf.core",
        "maml_tf.distribute",
        "maml_tf.files",
        "maml_tf.lazy",
        "maml_tf.methods",
        "maml_tf.registry",
        "maml_tf.stopping",
        "maml_tf.tables",
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
        "maml_tf.doctor",
        "maml_tf.evaluation",
        "maml_tf.export",
        "maml_tf.few_shot",
        "maml_tf.plotting",
        "maml_tf.pretrained",
        "maml_tf.results",
        "maml_tf.rl",
        "maml_tf.serving",
        "maml_tf.training",
    ),
    (
        "maml_tf.demo",
        "maml_tf.experiments",
    ),
    ("maml_tf.commands",),
    ("maml_tf.__main__", "bin"),
)
FLOOR_OF_THE_PACKAGE = 2

# The inner gradient is adaptation's; the other two differentiate through it. A new entry needs a reason that
# none of the three can serve.
GRADIENT_MODULES = (
    "maml_tf.core.adaptation",
    # Products with a Hessian at one point, of which no step is taken.
    "maml_tf.core.hessian",
    "maml_tf.core.looped_steps",
    "maml_tf.core.over_tasks",
    "maml_tf.diagnostics.second_order",
    # Forward mode and the shared primal pass of Fisher-vector products: no inner or outer gradient.
    "maml_tf.rl.hessian_products",
)
KERAS_INTERFACE = "maml_tf.core.keras_interface"
# What TensorFlow does not export of merging tasks: converters, and the functions that operations call.
PRIVATE_INTERFACES = (
    KERAS_INTERFACE,
    "maml_tf.core.merged_convolutions",
    "maml_tf.core.merged_loops",
    "maml_tf.core.merged_map",
)
PYTHON_NAMES = ("_asdict", "_exit", "_fields", "_initializing", "_make", "_replace")

# Names from outside, each with the only places that may use it.
RESERVED = {
    "absl.app": ("maml_tf.commands",),
    "absl.flags": ("maml_tf.commands",),
    "bokeh": ("maml_tf.demo",),
    "gymnasium": ("maml_tf.rl",),
    "imageio": ("maml_tf.rl",),
    "keras.src": (KERAS_INTERFACE,),
    "matplotlib": ("maml_tf.plotting",),
    "mujoco": ("maml_tf.rl",),
    "optuna": ("maml_tf.experiments",),
    "tensorflow.GradientTape": GRADIENT_MODULES,
    "tensorflow.autodiff": GRADIENT_MODULES,
    "tensorflow.compat.v1.gradients": GRADIENT_MODULES,
    "tensorflow.gradients": GRADIENT_MODULES,
    "tensorflow.hessians": GRADIENT_MODULES,
    "tensorflow_datasets": ("maml_tf.tasks",),
    "tensorflow.keras": (),  # What it is depends on an environment variable; Keras 3 is `keras`.
    "tensorflow_probability": ("maml_tf.rl",),
    "tf_agents": ("maml_tf.rl",),
    "tf_keras": (),
    "tornado": ("maml_tf.demo", "maml_tf.serving"),
}


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
            if other is None or other > floor or is_under(imported.name, "bin"):
                yield f"{source.path}:{imported.line}: on floor {floor}, imports {imported.name} from floor {other}"


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


def reserved(tree: SourceTree) -> Iterator[str]:
    for source in _sources(tree):
        used = {(imported.line, imported.name) for imported in imports(source)} | set(_attributes(source))
        for name, places in RESERVED.items():
            if not is_under(source.module, *places):
                for line in sorted({line for line, other in used if is_under(other, name)}):
                    yield f"{source.path}:{line}: uses {name}; {' and '.join(places) or 'nothing'} alone may"


def keras_interface(tree: SourceTree) -> Iterator[str]:
    """Private attributes that nothing in the project defines are another package's: Keras', or TensorFlow's."""
    own = {*PYTHON_NAMES, *(name for source in _sources(tree) for name in _definitions(source))}
    for source in _sources(tree):
        if source.module not in PRIVATE_INTERFACES:
            for line, name in sorted(_private_attributes(source)):
                if name not in own:
                    places = " and ".join(PRIVATE_INTERFACES)
                    yield f"{source.path}:{line}: uses {name}, which is not the project's; {places} alone may"


RULES: tuple[Callable[[SourceTree], Iterator[str]], ...] = (floors, cycles, reserved, keras_interface)


def _sources(tree: SourceTree) -> list[SourceFile]:
    return tree.under("maml_tf", "bin")


def _attributes(source: SourceFile) -> Iterator[tuple[int, str]]:
    """The attributes of imported modules that a file uses, as "tensorflow.GradientTape", with their lines."""
    modules = {"tf": "tensorflow"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            root, _, rest = ast.unparse(node).partition(".")
            if root in modules:
                yield node.lineno, f"{modules[root]}.{rest}"


def _private_attributes(source: SourceFile) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        match node:
            case (
                ast.Attribute(attr=name, ctx=ast.Load())
                | ast.Call(func=ast.Name("getattr" | "hasattr"), args=[_, ast.Constant(str() as name), *_])
            ):
                if name.startswith("_") and not name.startswith("__"):
                    yield node.lineno, name


def _definitions(source: SourceFile) -> Iterator[str]:
    for node in ast.walk(source.tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.Name(id=name, ctx=ast.Store()):
                yield name
