"""Tests of maml_tf.experiments.config."""

import dataclasses
import json
import math

from absl.testing import absltest, parameterized

from maml_tf.experiments.config import check_at_least, check_multiple, check_positive, from_dict, to_dict
from maml_tf.tasks.sinusoid import Sinusoids


@dataclasses.dataclass(frozen=True)
class Net:
    hidden: tuple[int, ...] = (40, 40)
    pair: tuple[float, str] = (1.0, "a")


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int
    alpha: float = 0.01
    net: Net = Net()
    tasks: Sinusoids = Sinusoids()  # noqa: RUF009
    clip: float | None = None
    net_or_none: Net | None = None


class ConfigTest(parameterized.TestCase):
    @parameterized.parameters(
        Config(seed=1),
        Config(2, 0.5, Net((), (2.0, "b")), Sinusoids(phase=(0.0, 1.0)), 10.0, Net((8,))),
    )
    def test_json_and_back_is_the_same(self, config):
        self.assertEqual(from_dict(Config, json.loads(json.dumps(to_dict(config)))), config)

    def test_to_dict_holds_plain_values(self):
        expected = {"amplitude": [0.1, 5.0], "phase": [0.0, math.pi], "x": [-5.0, 5.0]}
        self.assertEqual(to_dict(Config(1))["tasks"], expected)

    def test_defaults_fill_what_is_absent(self):
        self.assertEqual(from_dict(Config, {"seed": 3, "net": {"hidden": [1]}}), Config(3, net=Net((1,))))

    @parameterized.parameters(
        ({"seed": 1, "aplha": 2}, r"Expected keys of Config: seed, alpha, .* Received: \['aplha'\]"),
        ({"seed": 1, "net": {"depth": 2}}, r"Expected keys of Net: hidden, pair. Received: \['depth'\]"),
        ({"alpha": 1.0}, r"Expected values of \['seed'\] for Config. Received: \['alpha'\]"),
        ({"seed": 1, "net": {"pair": [1.0]}}, r"Expected 2 values. Received: \[1.0\]"),
    )
    def test_what_does_not_fit_is_refused(self, values, message):
        with self.assertRaisesRegex(ValueError, message):
            from_dict(Config, values)


class ChecksTest(parameterized.TestCase):
    @parameterized.parameters(
        (check_at_least, (4, ["seed"]), "Expected seed to be at least 4. Received: seed=3"),
        (check_at_least, (0, ["seed", "alpha"]), "Expected alpha to be at least 0. Received: alpha=nan"),
        (check_positive, (["alpha"],), "Expected alpha to be greater than 0. Received: alpha=nan"),
        (check_multiple, ("seed", "clip"), "Expected seed to be a multiple of clip=2. Received: seed=3"),
    )
    def test_a_value_out_of_bounds_is_named(self, check, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            check(Config(seed=3, alpha=math.nan, clip=2), *arguments)

    @parameterized.parameters((check_at_least, (0, ["alpha"])), (check_positive, (["alpha"],)))
    def test_infinity_is_out_of_bounds(self, check, arguments):
        with self.assertRaisesRegex(ValueError, "Expected alpha to be .* Received: alpha=inf"):
            check(Config(seed=3, alpha=math.inf), *arguments)

    def test_values_on_the_bound_pass(self):
        config = Config(seed=4, alpha=0.5, clip=2)
        check_at_least(config, 4, ["seed"])
        check_positive(config, ["alpha", "net_or_none"])
        check_multiple(config, "seed", "clip")


if __name__ == "__main__":
    absltest.main()
