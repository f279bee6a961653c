"""Every public name says what it takes, gives and raises."""

import textwrap

from absl.testing import absltest, parameterized

from tests.support import docstrings
from tests.support.source_tree import SourceTree

_MODULES = {source.path: source.text for source in SourceTree().under("maml_tf")}
_DOCUMENTED = docstrings.methods_by_class(_MODULES.values())

# Each with a source that breaks one rule, and what is then said.
FAULTY = (
    ("module", "x = 1\n", ["module.py:1: the module has no docstring"]),
    (
        "function",
        '''
        """Module."""
        def f():
            pass
        ''',
        ["module.py:3: f has no docstring"],
    ),
    (
        "class_and_method",
        '''
        """Module."""
        class A:
            def f(self):
                pass
        ''',
        ["module.py:3: A has no docstring", "module.py:4: A.f has no docstring"],
    ),
    (
        "keras_name_without_a_base",
        '''
        """Module."""
        class A:
            """A."""
            def call(self):
                pass
        ''',
        ["module.py:5: A.call has no docstring"],
    ),
    (
        "override_of_a_method_without_docstring",
        '''
        """Module."""
        class A(Base):
            """A."""
            def undocumented(self):
                pass
        ''',
        ["module.py:5: A.undocumented has no docstring"],
    ),
    (
        "parameters",
        '''
        """Module."""
        def f(a, b, *rest, c=1, **others):
            """F takes b and c.

            Args:
                a: The b: and c.
            """
        ''',
        ["module.py:3: f does not say in its section Args what these are: b, c, rest, others"],
    ),
    (
        "parameters_of_methods",
        '''
        """Module."""
        class A:
            """A."""
            def f(self, a):
                """F."""
            @staticmethod
            def g(b):
                """G."""
            @classmethod
            def h(cls, c):
                """H."""
        ''',
        [
            "module.py:5: A.f does not say in its section Args what these are: a",
            "module.py:8: A.g does not say in its section Args what these are: b",
            "module.py:11: A.h does not say in its section Args what these are: c",
        ],
    ),
    (
        "constructor",
        '''
        """Module."""
        class A:
            """A."""
            def __init__(self, size):
                self.size = size
        ''',
        ["module.py:3: A does not say in its section Args what these are: size"],
    ),
    (
        "fields",
        '''
        """Module."""
        @dataclasses.dataclass(frozen=True)
        class A:
            """A.

            Attributes:
                a: First.
            """
            a: int
            b: int = 2
        class B(NamedTuple):
            """B."""
            c: int
        ''',
        [
            "module.py:4: A does not say in its section Attributes what these are: b",
            "module.py:12: B does not say in its section Attributes what these are: c",
        ],
    ),
    (
        "returns",
        '''
        """Module."""
        def f():
            """Returns one."""
            if True:
                return 1
        def g() -> int:
            """G."""
            ...
        ''',
        [
            "module.py:3: f returns a value and has no section Returns",
            "module.py:7: g returns a value and has no section Returns",
        ],
    ),
    (
        "yields",
        '''
        """Module."""
        def f():
            """F."""
            yield 1
        ''',
        ["module.py:3: f yields values and has no section Yields"],
    ),
    (
        "examples",
        '''
        """Module."""
        def f():
            """F.

            >>> f()
            """
        class A:
            """A.

            Attributes:
                a: The letter.

            >>> A()
            """
        def g():
            """G.

            Example:
            >>> g()
            """
        ''',
        [
            "module.py:3: f has an example outside a section Example",
            "module.py:8: A has an example outside a section Example",
        ],
    ),
    (
        "raises",
        '''
        """Module."""
        def f():
            """F."""
            with x:
                raise ValueError("x")
        def g():
            """G.

            Raises:
                TypeError: never a ValueError: it says.
            """
            raise ValueError
        ''',
        [
            "module.py:3: f raises ValueError and has no section Raises",
            "module.py:7: g raises ValueError, which its section Raises does not name",
        ],
    ),
)

SOUND = '''
"""Module."""

def f(a, b, c, *rest, _hidden=0, **others):
    """F.

    Args:
        a: First.
        b, c: The others,
            at length.
        *rest: More.
        **others: Still more.

    Returns:
        The sum.

    Raises:
        ValueError, TypeError: If it must.
    """
    def inner(x):
        raise KeyError(x)
    try:
        inner(1)
    except KeyError as error:
        raise
    except OSError as error:
        raise error
    if a:
        raise ValueError("x")
    raise errors.TypeError("y")
    return a

def nothing() -> None:
    """Returns early."""
    return None

def also_nothing():
    """Holds a function that returns something."""
    def inner():
        yield 1
        return 1
    return

def stream():
    """Counts.

    Yields:
        Numbers.
    """
    yield 1

def _private(a):
    return a

class Layer(rules.Base, keras.layers.Layer):
    """A layer.

    Args:
        units (int): How many.
    """

    def __init__(self, units, name=None, **kwargs):
        """Starts.

        Args:
            name: Keras' own.
        """

    def call(self, inputs):
        return inputs

    def on_train_batch_end(self, batch, logs=None):
        return

    @property
    def size(self) -> int:
        """The size."""
        return 1

    @size.setter
    def size(self, value):
        self.value = value

    def rule(self, a):
        return a

    def get_config(self):
        return {}

    def _helper(self, a):
        return a

    def __call__(self, a):
        return a

@dataclass
class Config:
    """A config.

    Attributes:
        a: First.
    """

    a: int
    _b: int = 0
'''


BASE = '''
class Base:
    def rule(self, a):
        """States the rule for all that derive from this class."""

    def undocumented(self):
        pass
'''


class ProjectTest(parameterized.TestCase):
    @parameterized.named_parameters(*((path, path) for path in _MODULES))
    def test_module_is_documented(self, path):
        found = docstrings.problems(_MODULES[path], path, _DOCUMENTED)
        self.assertEmpty(found, "\n" + "\n".join(found))

    def test_finds_modules(self):
        self.assertNotEmpty(_MODULES)


class RuleTest(parameterized.TestCase):
    documented = docstrings.methods_by_class([BASE])

    @parameterized.named_parameters(*FAULTY)
    def test_fault_is_found(self, text, expected):
        self.assertEqual(docstrings.problems(textwrap.dedent(text), "module.py", self.documented), expected)

    def test_sound_module_passes(self):
        self.assertEqual(docstrings.problems(SOUND, "module.py", self.documented), [])


if __name__ == "__main__":
    absltest.main()
