"""Tests of the files under testdata/: they are what MANIFEST says, and their makers still make them."""

import hashlib
import importlib.util
import io
import pathlib
import tarfile
import zipfile

import numpy as np
from absl.testing import absltest
from PIL import Image

TESTDATA = pathlib.Path(__file__).parents[1] / "testdata"


def manifest():
    """Returns {file: (sha256, maker)}, all relative to testdata/."""
    lines = (TESTDATA / "MANIFEST").read_text(encoding="utf-8").splitlines()
    entries = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return {file: (sha256, maker) for sha256, file, maker in entries}


class ManifestTest(absltest.TestCase):
    def test_names_every_file_but_the_makers(self):
        files = {
            path.relative_to(TESTDATA).as_posix()
            for path in TESTDATA.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc") and path.name not in ("MANIFEST", "BUILD")
        }
        self.assertEqual(set(manifest()), files)

    def test_checksums_hold(self):
        for file, (sha256, _) in manifest().items():
            with self.subTest(file):
                self.assertEqual(hashlib.sha256((TESTDATA / file).read_bytes()).hexdigest(), sha256)

    def test_makers_are_there(self):
        for file, (_, maker) in manifest().items():
            with self.subTest(file):
                self.assertTrue((TESTDATA / maker).is_file(), maker)


def load_maker(name):
    spec = importlib.util.spec_from_file_location(name, TESTDATA / f"{name}.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    return maker


class AlphabetTest(absltest.TestCase):
    def test_its_maker_draws_the_same_pixels(self):
        maker = load_maker("make_alphabet")
        folder = pathlib.Path(self.create_tempdir().full_path)
        maker.write_alphabet(folder)
        for name in ("images_background.zip", "images_evaluation.zip"):
            with (
                zipfile.ZipFile(TESTDATA / "alphabet" / name) as shipped,
                zipfile.ZipFile(folder / name) as made,
            ):
                self.assertEqual(shipped.namelist(), made.namelist())
                for member in shipped.namelist():
                    # Pixels and not bytes: zlib's compression differs from build to build.
                    with shipped.open(member) as a, made.open(member) as b:
                        np.testing.assert_array_equal(Image.open(a), Image.open(b), err_msg=member)

    def test_is_small(self):
        sizes = [path.stat().st_size for path in (TESTDATA / "alphabet").iterdir()]
        self.assertLess(sum(sizes), 200_000)


class MiniImagenetTest(absltest.TestCase):
    def test_its_maker_draws_the_same_pixels(self):
        maker = load_maker("make_mini_imagenet")
        images = [
            (f"miniImagenet/{part}/{name}/{name}_{number:03}.jpg", (name, number))
            for part in maker.CLASSES
            for name in maker.class_names(part)
            for number in range(maker.IMAGES)
        ]
        with tarfile.open(TESTDATA / "mini_imagenet" / "miniImagenet.tar") as shipped:
            self.assertEqual(shipped.getnames(), [name for name, _ in images])
            for name, (class_name, number) in images[::7]:
                made = io.BytesIO(maker.jpeg(maker.draw(class_name, number)))
                with Image.open(shipped.extractfile(name)) as a, Image.open(made) as b:
                    # JPEG encoders differ by a level here and there; another drawing is off by tens.
                    self.assertLess(np.mean(np.abs(np.asarray(a, np.int32) - np.asarray(b))), 1.0, name)

    def test_is_small(self):
        self.assertLess((TESTDATA / "mini_imagenet" / "miniImagenet.tar").stat().st_size, 600_000)


if __name__ == "__main__":
    absltest.main()
