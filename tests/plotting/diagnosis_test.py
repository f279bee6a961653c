"""A diagnosis drawn: every layer is named, and the verdicts stand in the title."""

import keras
from absl.testing import absltest, parameterized

import maml_tf
from maml_tf.plotting import diagnosis_figure, save
from tests.support.small_learner import make_data
from tests.support.small_models import sequential


class DiagnosisFigureTest(parameterized.TestCase):
    @parameterized.parameters((0.05, "nothing found"), (50.0, "step too large"))
    def test_figure_of(self, alpha, title):
        keras.utils.set_random_seed(0)
        layers = keras.layers.Dense(4, "tanh", name="hidden"), keras.layers.Dense(1, name="head")
        learner = maml_tf.MAML(sequential(*layers, features=2), "mse", alpha, 2)
        inputs, query_y = make_data()
        figure = diagnosis_figure(maml_tf.diagnose(learner, [(inputs, query_y)]))
        self.assertIn(title, figure.get_suptitle())
        names = [label.get_text() for label in figure.axes[2].get_yticklabels()]
        self.assertEqual(names, ["hidden", "head"])
        path = save(figure, f"{self.create_tempdir().full_path}/diagnosis.png")
        self.assertGreater(path.stat().st_size, 0)


if __name__ == "__main__":
    absltest.main()
