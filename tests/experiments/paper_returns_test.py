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

    def test_another_reward_has_none(self):
        self.assertEmpty(paper_returns("point_navigation_squared", 40))


if __name__ == "__main__":
    absltest.main()
