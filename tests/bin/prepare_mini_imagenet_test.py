"""Tests of bin/prepare_mini_imagenet.py, run as a process on drawn images."""

import pathlib
import tarfile
import tempfile

from absl.testing import absltest

from maml_tf.tasks import MiniImagenet
from tests.support import binary
from tests.support.source_tree import PROJECT


class PrepareTest(absltest.TestCase):
    """ImageNet's classes are those of the drawn mini-ImageNet; the lists take 4 images of each by their places."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        (cls.folder / "lists").mkdir()
        lists = {part: ["filename,label"] for part in ("train", "val", "test")}
        with tarfile.open(PROJECT / "testdata" / "mini_imagenet" / "miniImagenet.tar") as drawn:
            for member in drawn:
                _, part, label, name = member.name.split("/")
                path = cls.folder / "imagenet" / label / name.replace(".jpg", ".JPEG")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(drawn.extractfile(member).read())
                if (place := int(name[-7:-4]) + 1) <= 4:
                    lists[part].append(f"{label}{place:08}.jpg,{label}")
        for part, rows in lists.items():
            (cls.folder / "lists" / f"{part}.csv").write_text("\n".join(rows) + "\n")
        cls.flags = [f"--imagenet_dir={cls.folder}/imagenet", f"--split_dir={cls.folder}/lists"]

    def test_makes_what_mini_imagenet_reads_and_goes_on(self):
        output = self.folder / "mini"
        finished = binary.run("prepare_mini_imagenet", *self.flags, f"--output={output}")
        self.assertEqual(finished.code, 0, finished.stderr)
        self.assertEqual(finished.stdout, f"Wrote 64 images to {output}\n")
        with self.assertLogs("absl", "WARNING"):
            data = MiniImagenet(output, cache_dir=self.folder / "cache")
        self.assertEqual([len(names) for names in data.splits.values()], [6, 5, 5])
        self.assertEqual(data.pool("train", "validation", "test").class_sizes.tolist(), [4] * 16)

        for path in (output / "test" / "n00000011").iterdir():
            path.unlink()
        (output / "test" / "n00000011").rmdir()
        finished = binary.run("prepare_mini_imagenet", *self.flags, f"--output={output}")
        self.assertEqual(finished.stdout, f"Wrote 4 images to {output}\n")

    def test_what_is_missing_is_one_clear_error(self):
        flags = [f"--imagenet_dir={self.folder}/nowhere", self.flags[1], f"--output={self.folder}/none"]
        finished = binary.run("prepare_mini_imagenet", *flags)
        self.assertEqual(finished.code, 1)
        [error] = finished.errors
        self.assertRegex(error, "a folder n00000000 or n00000000.tar.*Received: .*nowhere without it")
        self.assertNotIn("Traceback", finished.stderr)

    def test_a_missing_flag_is_named(self):
        finished = binary.run("prepare_mini_imagenet", *self.flags)
        self.assertNotEqual(finished.code, 0)
        self.assertIn("--output", finished.stderr + finished.stdout)


if __name__ == "__main__":
    absltest.main()
