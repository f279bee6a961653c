"""Tests of bin/benchmark.py, run as a process."""

import json

from absl.testing import absltest

from tests.support import binary

KEYS = {"peer", "workload", "first_order", "median_ms", "min_ms", "calls", "peak_mib"}


class BenchmarkTest(absltest.TestCase):
    def test_prints_a_line_for_each_workload_and_order(self):
        finished = binary.run("benchmark", "--workload=sinusoid", "--seconds=0", "--calls=5")
        self.assertEqual(finished.code, 0, finished.stderr)
        lines = [json.loads(line) for line in finished.stdout.splitlines()]
        self.assertEqual([line["first_order"] for line in lines], [False, True])
        for line in lines:
            self.assertEqual(set(line), KEYS)
            self.assertEqual(line["workload"], "sinusoid")
            self.assertEqual(line["calls"], 5)
            self.assertGreater(line["min_ms"], 0)
            self.assertGreaterEqual(line["median_ms"], line["min_ms"])
            self.assertGreater(line["peak_mib"], 0)

    def test_times_an_image_workload_in_a_chosen_way_over_tasks(self):
        finished = binary.run(
            "benchmark", "--workload=omniglot", "--order=exact", "--seconds=0", "--calls=5", "--parallel_tasks=2"
        )
        self.assertEqual(finished.code, 0, finished.stderr)
        self.assertEqual(json.loads(finished.stdout)["workload"], "omniglot")

    def test_refuses_an_unknown_workload(self):
        finished = binary.run("benchmark", "--workload=cartpole")
        self.assertNotEqual(finished.code, 0)
        self.assertIn("cartpole", finished.stdout + finished.stderr)


if __name__ == "__main__":
    absltest.main()
