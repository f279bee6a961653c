"""CIFAR-FS and FC100: both versions of CIFAR-100, as archive and folder, and pickles that do harm refused."""

import hashlib
import os
import pickle

import numpy as np
import pytest

from maml_tf.tasks import Cifar100
from maml_tf.tasks.archives import Archive
from maml_tf.tasks.dataset import published_split
from tests.support import small_data

pytestmark = pytest.mark.filterwarnings("ignore")


def in_folder(files, version="python"):
    return {f"cifar-100-{version}/{name}": content for name, content in files.items()}


def assert_is_the_data(data):
    for part, names in data.splits.items():
        pool = data.pool(part)
        for name in names:
            images = pool.images_of(name)
            label = small_data.CLASSES.index(name)
            assert images.shape == (3, 32, 32, 3)
            expected = np.broadcast_to([label, 0, 255 - label], images[0].shape)
            np.testing.assert_array_equal(images[0], expected)
            assert images[:, 0, 0, 1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("version", ["python", "binary"])
def test_both_versions_are_read_as_archive_and_as_folder(version, tmp_path):
    files = small_data.cifar100(version)
    archive = small_data.tar_of(tmp_path / f"cifar-100-{version}.tar.gz", in_folder(files, version))
    folder = small_data.write(tmp_path / "here", in_folder(files, version))
    for path in (archive, tmp_path, folder, folder / f"cifar-100-{version}"):
        data = Cifar100(path)
        assert data.splits == published_split("cifar_fs")
    assert_is_the_data(data)


def test_parts_of_fc100_share_no_superclass(tmp_path):
    data = Cifar100(small_data.write(tmp_path, small_data.cifar100()), split="fc100")
    assert_is_the_data(data)
    assert [len(names) for names in data.splits.values()] == [60, 20, 20]
    groups = [
        {small_data.SUPERCLASSES[small_data.CLASSES.index(name) % 20] for name in names}
        for names in data.splits.values()
    ]
    assert groups == [set(names) for names in published_split("fc100").values()]


def test_a_split_of_ones_own(tmp_path):
    folder = small_data.write(tmp_path, small_data.cifar100())
    assert Cifar100(folder, split={"train": ["apple"]}).pool("train").class_names == ("apple",)
    with pytest.raises(ValueError, match="the first 'unicorn'"):
        Cifar100(folder, split={"train": ["unicorn"]})
    with pytest.raises(ValueError, match="Received: split='cifar'"):
        Cifar100(folder, split="cifar")


def test_a_part_of_the_images_is_noticed(tmp_path, caplog):
    Cifar100(small_data.write(tmp_path, small_data.cifar100()))
    assert "Expected 600 images of each class. Received: 3 to 3" in caplog.text


def test_the_archive_is_downloaded_once_and_checked(tmp_path):
    path = small_data.tar_of(tmp_path / "cifar-100-python.tar.gz", in_folder(small_data.cifar100()))
    archive = Archive(path.name, path.as_uri(), hashlib.md5(path.read_bytes()).hexdigest())
    assert_is_the_data(Cifar100(archive=archive, cache_dir=tmp_path / "cache"))
    Cifar100(archive=archive._replace(url="file:///no/such/file"), cache_dir=tmp_path / "cache")
    with pytest.raises(OSError, match=f"with MD5 {'0' * 32}.*Try again"):
        Cifar100(archive=archive._replace(md5="0" * 32), cache_dir=tmp_path / "other")


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harm",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train", pickle.dumps(Harmful(), protocol=2), "train in .*it asks for (posix|nt).system"),
        ("meta", small_data.pickled(np.zeros(2, object)), "meta in .*it has an array of b'O8'"),
        ("meta", small_data.pickled(np.zeros(2, np.float32)), "meta in .*it has an array of b'f4'"),
        ("test", b"no pickle", "Expected a pickle of CIFAR-100.*test in"),
        ("meta", pickle.dumps([1], protocol=2), "Expected a dictionary. Received: list in meta"),
        ("test", small_data.pickled({b"data": 1}), "Expected the dictionaries of CIFAR-100"),
        (
            "test",
            small_data.pickled({b"data": np.zeros((1, 9), np.uint8), b"fine_labels": [0], b"coarse_labels": [0]}),
            r"Expected images uint8 \[images, 3072\]",
        ),
        (
            "test",
            small_data.pickled({b"data": np.zeros((1, 3072), np.uint8), b"fine_labels": [100], b"coarse_labels": [0]}),
            "Expected one label below 100 for each of 201 images. Received: 201 labels up to 100",
        ),
    ],
)
def test_what_is_no_cifar100_is_refused(name, content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        Cifar100(small_data.write(tmp_path / "data", {**small_data.cifar100(), name: content}))
    assert not (tmp_path / "harm").exists()


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"www.cs.toronto.edu.*which does not exist"):
        Cifar100(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"train, test, meta .python version.*without them"):
        Cifar100(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"a folder or an archive.*file"):
        Cifar100(tmp_path / "file")
    small_data.write(tmp_path / "cut", {**small_data.cifar100("binary"), "test.bin": b"ab"})
    with pytest.raises(ValueError, match=r"records of 3074 bytes. Received: 2 bytes in test.bin"):
        Cifar100(tmp_path / "cut")
