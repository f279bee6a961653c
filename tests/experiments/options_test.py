"""Tests of maml_tf.experiments.options."""

import dataclasses
from typing import Literal
from unittest import mock

from absl import flags as absl_flags
from absl.testing import absltest

from maml_tf.experiments import options


@dataclasses.dataclass(frozen=True)
class Config:
    """A configuration.

    Attributes:
        ways: Classes of a task,
            at least two.
        rate: A rate.
        folder: A folder.
        fast: Whether to hurry.
        kind: Which one.
    """

    ways: int = 5
    rate: float | None = None
    folder: str | None = None
    fast: bool = False
    kind: Literal["one", "other"] = "one"


@dataclasses.dataclass(frozen=True)
class Undescribed:
    """A configuration.

    Attributes:
        ways: Classes of a task.
    """

    ways: int = 5
    shots: int = 1


class OptionsTest(absltest.TestCase):
    def test_fields_have_their_types_texts_and_choices(self):
        found = {option.name: option for option in options.options(Config)}
        self.assertEqual([option.kind for option in found.values()], [int, float, str, bool, str])
        self.assertEqual(found["ways"].text, "Classes of a task, at least two.")
        self.assertEqual(found["kind"].choices, ("one", "other"))
        self.assertEqual([option.default for option in found.values()], [5, None, None, False, "one"])

    def test_a_field_without_text_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "Expected shots among the attributes of Undescribed"):
            options.options(Undescribed)

    def test_a_field_that_no_flag_can_hold_is_an_error(self):
        described = dataclasses.make_dataclass("Described", [("ways", tuple[int, ...], (1,))])
        described.__doc__ = "A.\n\nAttributes:\n    ways: Several.\n"
        with self.assertRaisesRegex(ValueError, "Expected ways to be a bool, int, float or str. Received: tuple"):
            options.options(described)

    def test_flags_give_the_values_that_a_user_gave(self):
        values = absl_flags.FlagValues()
        defined = options.options(Config)

        class Module:
            """What absl.flags is to a binary, on flag values of its own."""

            disclaim_key_flags = staticmethod(absl_flags.disclaim_key_flags)

        for name in ("bool", "integer", "float", "string", "enum"):
            define = getattr(absl_flags, f"DEFINE_{name}")
            setattr(Module, f"DEFINE_{name}", lambda *args, define=define: define(*args, flag_values=values))
        options.define_flags(Module, defined, "By default as it was.")
        values(["binary", "--rate=0.5", "--nofast", "--kind=other"])
        given = options.given(values.flag_values_dict(), defined)
        self.assertEqual(given, {"rate": 0.5, "fast": False, "kind": "other"})
        self.assertEqual(values["ways"].help, "Classes of a task, at least two. By default as it was.")
        with self.assertRaisesRegex(absl_flags.IllegalFlagValueError, "one"):
            values(["binary", "--kind=third"])

    def test_the_default_is_told_of_options_that_no_note_is_of(self):
        flags = mock.Mock()
        options.define_flags(flags, options.options(Config), "By default as it was.", noted={"rate"})
        texts = {call.args[0]: call.args[2] for call in flags.mock_calls if call.args and len(call.args) == 3}
        self.assertEndsWith(texts["rate"], " By default as it was.")
        self.assertEqual(texts["ways"], "Classes of a task, at least two. By default 5.")
        self.assertEndsWith(texts["fast"], " By default false.")


class CheckChoicesTest(absltest.TestCase):
    def test_a_value_that_is_no_choice_is_an_error(self):
        options.check_choices(Config())
        with self.assertRaisesRegex(ValueError, r"Expected kind to be one of \('one', 'other'\). Received: kind='no'"):
            options.check_choices(Config(kind="no"))


if __name__ == "__main__":
    absltest.main()
