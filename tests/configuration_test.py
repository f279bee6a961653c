"""Tests of maml_tf.configuration."""

import dataclasses
import json
import math
import pathlib

from absl import flags as absl_flags
from absl.testing import absltest, parameterized

from maml_tf import configuration
from maml_tf.configuration import (
    Configuration,
    check_multiple,
    differences,
    from_dict,
    nearest_divisor,
    setting,
    settings,
    to_dict,
)
from maml_tf.registry import Registry

KINDS = Registry("kind")
KINDS.register("one", 1)


@dataclasses.dataclass(frozen=True)
class Config(Configuration):
    ways: int = setting(5, "Classes of a task.", minimum=2, maximum=100)
    rate: float = setting(0.1, "A rate.", positive=True)
    share: float | None = setting(None, "A share.", minimum=0, maximum=1, since="0.2.0")
    folder: str | None = setting(None, "A folder.", role="runtime")
    seconds: float = setting(1.0, "Seconds.", role="process")
    fast: bool = setting(False, "Whether to hurry.", role="evaluation")
    kind: str = setting("one", "Which kind.", choices=KINDS, role="test")
    iterations: int = setting(10, "Iterations.", role="length")
    hidden: tuple[int, ...] = setting((40, 40), "Units.", minimum=1, flag="units")


class Module:
    """What absl.flags is to a binary, on flag values of its own."""

    ArgumentParser = absl_flags.ArgumentParser
    disclaim_key_flags = staticmethod(absl_flags.disclaim_key_flags)

    def __init__(self):
        self.values = absl_flags.FlagValues()
        for name in ("DEFINE", "DEFINE_bool", "DEFINE_multi"):
            setattr(self, name, self._on_own_values(getattr(absl_flags, name)))

    def _on_own_values(self, define):
        return lambda *args: define(*args, flag_values=self.values)


class ConfigurationTest(parameterized.TestCase):
    @parameterized.parameters(
        ({"ways": 1}, "ways=1"),
        ({"ways": 101}, "ways=101"),
        ({"ways": 5.0}, "ways=5.0"),
        ({"ways": True}, "ways=True"),
        ({"ways": None}, "ways=None"),
        ({"rate": 0.0}, "rate=0.0"),
        ({"rate": math.inf}, "rate=inf"),
        ({"rate": "0.1"}, "rate='0.1'"),
        ({"share": 1.5}, "share=1.5"),
        ({"folder": 3}, "folder=3"),
        ({"fast": "no"}, "fast='no'"),
        ({"kind": "third"}, "kind='third'"),
        ({"hidden": (40, 0)}, "hidden=0"),
        ({"hidden": 40}, "hidden=40"),
    )
    def test_a_value_that_does_not_fit_is_refused(self, values, named):
        with self.assertRaisesRegex(ValueError, f"Received: {named}"):
            Config(**values)

    def test_values_take_the_type_of_the_field(self):
        config = Config(rate=1, folder=pathlib.Path("a/b"), hidden=[8])
        self.assertEqual((config.rate, config.folder, config.hidden), (1.0, "a/b", (8,)))
        self.assertIsInstance(config.rate, float)

    def test_a_name_that_is_registered_later_is_a_choice(self):
        kinds = Registry("kind")

        @dataclasses.dataclass(frozen=True)
        class Late(Configuration):
            kind: str = setting("one", "Which kind.", choices=lambda: (*kinds, "one"))

        with self.assertRaisesRegex(ValueError, "kind='later'"):
            Late("later")
        kinds.register("later", 1)
        self.assertEqual(Late("later").kind, "later")

    def test_json_and_back_is_the_same(self):
        config = Config(7, 0.5, 0.5, "a", 2.0, True, "one", 3, (8, 9))
        self.assertEqual(from_dict(Config, json.loads(json.dumps(to_dict(config)))), config)

    def test_an_unknown_key_is_refused(self):
        with self.assertRaisesRegex(ValueError, r"Expected keys of Config: ways, .*Received: \['wyas'\]"):
            from_dict(Config, {"wyas": 2})

    def test_the_identity_leaves_out_what_a_resume_may_change_and_what_older_files_do_not_hold(self):
        expected = {"method": "maml", "ways": 5, "rate": 0.1, "fast": False, "hidden": [40, 40]}
        self.assertEqual(Config(folder="a", iterations=7).identity(method="maml"), expected)
        self.assertEqual(Config(share=0.5).identity(method="maml"), expected | {"share": 0.5})

    def test_results_depend_on_all_but_the_runtime(self):
        self.assertEqual(Config(folder="a", seconds=2.0).results_identity(), Config().results_identity())
        self.assertNotEqual(Config(iterations=7).results_identity(), Config().results_identity())

    def test_an_evaluation_changes_its_own_fields_alone(self):
        self.assertEqual(Config().for_evaluation({"fast": True, "folder": "a"}), Config(fast=True, folder="a"))
        with self.assertRaisesRegex(ValueError, r"Received: \['iterations', 'seconds', 'ways'\]"):
            Config().for_evaluation({"ways": 3, "iterations": 3, "seconds": 3.0, "fast": True})

    def test_a_field_that_no_setting_made_is_an_error(self):
        with self.assertRaisesRegex(TypeError, "ways of Plain"):
            settings(dataclasses.make_dataclass("Plain", [("ways", int, 5)]))
        with self.assertRaisesRegex(TypeError, "Expected ways to be a bool"):
            settings(dataclasses.make_dataclass("Odd", [("ways", dict, setting(None, "Ways."))]))

    def test_an_unknown_role_is_an_error(self):
        with self.assertRaisesRegex(ValueError, "role='runtme'"):
            setting(1, "One.", role="runtme")

    def test_differences_name_fields_with_both_values(self):
        self.assertEqual(
            differences({"a": 1, "b": 2}, {"a": 1, "c": 3}),
            ("b: stored 2, given 'absent'; c: stored 'absent', given 3"),
        )

    def test_a_number_that_is_no_multiple_is_named_with_the_flag(self):
        check_multiple(Config(ways=5, iterations=10), "iterations", "ways")
        with self.assertRaisesRegex(ValueError, "ways=5. Received: iterations=12"):
            check_multiple(Config(ways=5, iterations=12), "iterations", "ways")

        @dataclasses.dataclass(frozen=True)
        class Every(Configuration):
            iterations: int = setting(10, "Iterations.")
            per_call: int = setting(3, "Iterations of a call.", flag="every")

        with self.assertRaisesRegex(ValueError, r"per_call=3 \(--every\). Received: iterations=10"):
            check_multiple(Every(), "iterations", "per_call")

    @parameterized.parameters(
        (60_000, 500, 1, 500), (100, 500, 1, 100), (1009, 500, 1, 1009), (1700, 500, 1, 425), (2000, 500, 40, 400),
        (1000, 500, 7, 500),
    )  # fmt: skip
    def test_the_nearest_divisor(self, number, wish, multiple_of, expected):
        self.assertEqual(nearest_divisor(number, wish, multiple_of), expected)


class FlagsTest(parameterized.TestCase):
    def parse(self, *arguments):
        module, chosen = Module(), settings(Config).values()
        configuration.define_flags(module, chosen, "By default as it was.", noted={"rate"})
        module.values(["binary", *arguments])
        return module.values, configuration.given(module.values.flag_values_dict(), chosen)

    def test_flags_give_what_a_user_gave(self):
        _, given = self.parse("--rate=0.5", "--nofast", "--kind=one", "--units=8,9", "--units=7", "--folder=a,b")
        self.assertEqual(given, {"rate": 0.5, "fast": False, "kind": "one", "hidden": (8, 9, 7), "folder": "a,b"})

    @parameterized.parameters(
        ("--ways=1", "ways=1"),
        ("--ways=few", "ways='few'"),
        ("--rate=0", "rate=0.0"),
        ("--kind=third", "kind='third'"),
        ("--units=8,x", "hidden='x'"),
    )
    def test_a_value_that_does_not_fit_is_refused(self, argument, named):
        with self.assertRaisesRegex(absl_flags.IllegalFlagValueError, f"Received: {named}"):
            self.parse(argument)

    def test_help_says_the_text_the_default_and_the_range(self):
        text = " ".join(self.parse()[0].main_module_help().split()) + " ".join(self.parse()[0].get_help().split())
        self.assertIn("Classes of a task. By default 5. (a whole number of at least 2 and at most 100)", text)
        self.assertIn("A rate. By default as it was. (a number greater than 0)", text)
        self.assertIn("Which kind. By default one. (one of one)", text)
        self.assertIn("Whether to hurry. By default false.", text)
        self.assertIn("Units. By default 40,40.", text)


if __name__ == "__main__":
    absltest.main()
