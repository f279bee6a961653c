"""Tests of Episode."""

from absl.testing import absltest

from maml_tf.tasks import Episode


class EpisodeTest(absltest.TestCase):
    def test_keras_data_puts_the_query_targets_last(self):
        episode = Episode(support_x="support_x", support_y="support_y", query_x="query_x", query_y="query_y")
        self.assertEqual(episode.keras_data(), (("support_x", "support_y", "query_x"), "query_y"))


if __name__ == "__main__":
    absltest.main()
