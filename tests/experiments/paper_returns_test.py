"""Tests of maml_tf.experiments.paper_returns."""

from absl.testing import absltest, parameterized

from maml_tf.experiments.paper_returns import paper_returns
from tests.support import with_rl  # noqa: F401

# isort: split
from maml_tf.experiments.meta_rl_config import ENVIRONMENTS, METHODS


class PaperReturnsTest(parameterized.TestCase):
    @parameterized.parameters(sorted(set(ENVIRONMENTS) - {"point_navigation_squared"}))
    def test_each_environment_has_its_methods_step_by_step(self, environment):
        points = paper_returns(environment, 20)
        self.assertContainsSubset({point.method for point in points}, METHODS)
        for method in ("maml", "pretrained", "random"):
            self.assertEqual([point.step for point in points if point.method == method], [0, 1, 2, 3])
        self.assertEqual([point.step for point in points if point.method == "oracle"], [0])
        maml = [point.mean for point in points if point.method == "maml"]
        self.assertGreater(min(maml[1:]), maml[0])
        self.assertEqual({point.shots for point in points}, {20})

    @parameterized.parameters(
        ("point_navigation", -11.68, -19.73, -57.96, -2.29),
        ("half_cheetah_velocity", -78.57, -135.39, -254.33, -54.47),
        ("half_cheetah_direction", 293.19, -24.75, 21.83, 442.69),
        ("ant_velocity", 96.74, 6.11, -62.81, 107.89),
        ("ant_direction", 499.15, 1.27, 9.25, 524.80),
    )
    def test_after_one_step_each_method_has_its_own_return(self, environment, maml, pretrained, random, oracle):
        points = {(point.method, point.step): point.mean for point in paper_returns(environment, 20)}
        adapted = {method: points[method, 1] for method in ("maml", "pretrained", "random")}
        self.assertEqual(adapted, {"maml": maml, "pretrained": pretrained, "random": random})
        self.assertEqual(points["oracle", 0], oracle)

    def test_another_reward_has_none(self):
        self.assertEmpty(paper_returns("point_navigation_squared", 40))


if __name__ == "__main__":
    absltest.main()
