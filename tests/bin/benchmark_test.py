"""Tests of bin/benchmark.py, run as a process."""

import json
import pathlib

from absl.testing import absltest

from tests.support import binary

KEYS = {"peer", "workload", "first_order", "median_ms", "min_ms", "calls", "peak_mib"}
SIZES = {"device", "tasks", "inner_steps"}


class BenchmarkTest(absltest.TestCase):
    def test_prints_a_line_for_each_workload_and_order(self):
        finished = binary.run("benchmark", "--workload=sinusoid", "--seconds=0", "--calls=5")
        self.assertEqual(finished.code, 0, finished.stderr)
        lines = [json.loads(line) for line in finished.stdout.splitlines()]
        self.assertEqual([line["first_order"] for line in lines], [False, True])
        for line in lines:
            self.assertEqual(set(line), KEYS | SIZES)
            self.assertEqual(line["workload"], "sinusoid")
            self.assertEqual(line["calls"], 5)
            self.assertGreater(line["min_ms"], 0)
            self.assertGreaterEqual(line["median_ms"], line["min_ms"])
            self.assertGreater(line["peak_mib"], 0)

    def test_times_an_image_workload_in_a_chosen_way_over_tasks(self):
        finished = binary.run(
            "benchmark", "--workload=omniglot", "--order=exact", "--seconds=0", "--calls=5", "--parallel_tasks=2",
            "--in_this_process",
        )  # fmt: skip
        self.assertEqual(finished.code, 0, finished.stderr)
        self.assertEqual(json.loads(finished.stdout)["workload"], "omniglot")

    def test_draws_curves_over_tasks_and_inner_steps(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        other = {"peer": "other", "workload": "sinusoid", "first_order": True, "varied": "tasks", "tasks": 3}
        other = {**other, "inner_steps": 1, "median_ms": 1.0, "peak_mib": 50}
        (folder / "other.jsonl").write_text(json.dumps(other) + "\n")
        finished = binary.run(
            "benchmark", "--workload=sinusoid", "--order=first", "--seconds=0", "--calls=5", "--device=cpu",
            f"--curves={folder}", "--curve_tasks=2", "--curve_steps=1", f"--beside={folder / 'other.jsonl'}",
        )  # fmt: skip
        self.assertEqual(finished.code, 0, finished.stderr)
        lines = json.loads((folder / "curves.json").read_text(encoding="utf-8"))
        self.assertEqual([json.loads(line) for line in finished.stdout.splitlines()], lines)
        found = [(line["varied"], line["tasks"], line["inner_steps"]) for line in lines]
        self.assertEqual(found, [("tasks", 2, 1), ("inner_steps", 25, 1)])
        self.assertIn("CPU", lines[0]["device"])
        self.assertTrue((folder / "curves.png").read_bytes().startswith(b"\x89PNG"))

    def test_measurements_of_another_program_that_lack_something_are_refused_before_measuring(self):
        file = pathlib.Path(self.create_tempdir().full_path, "other.jsonl")
        file.write_text('{"workload": "sinusoid"}\n')
        number = file.with_name("number.jsonl")
        number.write_text("5\n")
        for arguments, message in (
            ((f"--beside={file}", f"--curves={file.parent}"), "Expected a line to have"),
            ((f"--beside={number}", f"--curves={file.parent}"), "a file of JSON dictionaries. Received: 5"),
            ((f"--beside={file}.gone", f"--curves={file.parent}"), "Expected --beside to name a file of JSON lines"),
            ((f"--beside={file}",), "Expected --curves with --beside"),
        ):
            finished = binary.run("benchmark", *arguments)
            self.assertEqual((finished.code, finished.stdout), (1, ""))
            self.assertIn(message, finished.errors[0])

    def test_a_gpu_that_is_not_there(self):
        finished = binary.run("benchmark", "--in_this_process", "--workload=sinusoid", "--device=gpu")
        if finished.code == 0:
            self.skipTest("there is a GPU")
        self.assertIn("Expected a GPU with --device=gpu", finished.stdout + finished.stderr)

    def test_no_tasks_in_memory_are_a_bad_flag(self):
        finished = binary.run("benchmark", "--parallel_tasks=0")
        self.assertEqual(finished.code, 1)
        self.assertIn("flag --parallel_tasks=0: 0 is not a positive integer", finished.stdout + finished.stderr)
        self.assertNotIn("Traceback", finished.stderr)

    def test_one_process_measures_one_workload(self):
        finished = binary.run("benchmark", "--in_this_process", "--workload=sinusoid", "--workload=omniglot")
        self.assertEqual(finished.code, 1)
        self.assertIn("Expected one --workload in this process", finished.stdout + finished.stderr)

    def test_times_sampling_beside_the_engine(self):
        finished = binary.run(
            "benchmark", "--workload=half_cheetah_sampling", "--seconds=0", "--rollouts=4", "--in_this_process"
        )
        self.assertEqual(finished.code, 0, finished.stderr)
        (line,) = (json.loads(line) for line in finished.stdout.splitlines())
        self.assertEqual(line["calls"], 3)
        self.assertGreater(line["control_steps_per_second"], 0)
        share = line["control_steps_per_second"] / line["engine_steps_per_second"]
        self.assertAlmostEqual(line["share_of_engine"], share, places=2)

    def test_times_meta_iterations_of_reinforcement_learning(self):
        finished = binary.run(
            "benchmark", "--workload=point_navigation_iteration", "--seconds=0", "--task_rollouts=1",
            "--curvature_stride=10", "--in_this_process",
        )  # fmt: skip
        self.assertEqual(finished.code, 0, finished.stderr)
        line = json.loads(finished.stdout)
        added = {"curvature_stride", "sampling_ms", "outer_step_ms", "control_steps"}
        self.assertEqual(set(line), KEYS | added)
        self.assertEqual(line["curvature_stride"], 10)
        self.assertBetween(line["control_steps"], 20 * 100, 2 * 20 * 100)
        self.assertGreater(min(line["sampling_ms"], line["outer_step_ms"]), 0)

    def test_refuses_an_unknown_workload(self):
        finished = binary.run("benchmark", "--workload=cartpole")
        self.assertNotEqual(finished.code, 0)
        self.assertIn("cartpole", finished.stdout + finished.stderr)


if __name__ == "__main__":
    absltest.main()
