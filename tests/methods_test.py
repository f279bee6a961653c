"""Tests of maml_tf.methods."""

from absl.testing import absltest, parameterized

from maml_tf.algorithms import algorithms
from maml_tf.methods import Method, label, methods, names
from maml_tf.plotting.style import line_styles

DOMAINS = ("sinusoid", "classification", "meta_rl")


class RegisteredTest(parameterized.TestCase):
    @parameterized.parameters(*methods.items())
    def test_every_method_belongs_to_known_domains(self, _, method):
        self.assertContainsSubset({*method.settings, *method.build}, DOMAINS)
        self.assertContainsSubset(method.build, method.settings)

    def test_no_two_methods_are_shown_alike(self):
        self.assertLen({label(name) for name in methods}, len(methods))
        styles = line_styles([*methods, "mine", "yours"]).values()
        self.assertLen({(drawn.color, str(drawn.line)) for drawn in styles}, len(methods) + 2)
        self.assertLen({drawn.marker for drawn in styles}, len(methods) + 2)

    def test_every_algorithm_is_trained_under_its_own_name(self):
        self.assertContainsSubset(algorithms.names(), names("classification"))

    @parameterized.parameters(*DOMAINS)
    def test_every_domain_trains_maml_and_a_baseline(self, domain):
        self.assertContainsSubset(["maml", "pretrained", "random"], names(domain))


class MethodTest(absltest.TestCase):
    def test_a_method_that_is_not_registered_is_its_own_label(self):
        self.assertEqual((label("maml"), label("mine")), ("MAML", "mine"))

    def test_what_builds_it_is_given_or_named(self):
        method = Method("mine", {"sinusoid": {}, "meta_rl": {}}, {"sinusoid": dict, "meta_rl": "collections:Counter"})
        self.assertIs(method.builder("sinusoid"), dict)
        self.assertEqual(method.builder("meta_rl").__name__, "Counter")
        self.assertIsNone(method.builder("classification"))

    def test_a_field_that_a_method_sets_has_no_other_value(self):
        method = Method("mine", {"sinusoid": {"first_order": True}})
        self.assertEqual(method.applied("sinusoid", {"shots": 5}), {"shots": 5, "first_order": True})
        self.assertEqual(method.applied("meta_rl", {"first_order": False}), {"first_order": False})
        with self.assertRaisesRegex(ValueError, "Received: first_order=False"):
            method.applied("sinusoid", {"first_order": False})


if __name__ == "__main__":
    absltest.main()
