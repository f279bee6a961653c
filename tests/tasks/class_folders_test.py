"""tieredImageNet and CUB: photos in folders and archives of classes, decoded into a file that is mapped."""

import hashlib
import os

import numpy as np
import pytest

from maml_tf.tasks import class_folders, datasets
from maml_tf.tasks.archives import Archive
from maml_tf.tasks.class_folders import ClassFolders, open_cub, open_tiered_imagenet
from maml_tf.tasks.dataset import PARTS, published_split
from tests.support import small_data


def assert_is_the_data(data, name):
    chosen = [each for part in PARTS for each in published_split(name)[part][:3]]
    assert [each for part in PARTS for each in data.splits[part]] == chosen
    for number, each in enumerate(chosen):
        images = data.pool(*PARTS).images_of(each)
        assert images.shape == (3, 84, 84, 3)
        np.testing.assert_array_equal(images[:, 3, 80], [[10 * number + i, 0, 255 - 10 * number - i] for i in range(3)])


def test_tiered_imagenet_is_read_from_folders_and_tars_of_classes(tmp_path):
    photos = small_data.photos("tiered_imagenet")
    train = small_data.write(tmp_path / "train", {**photos, "n99999999/1.JPEG": b"of no class"})
    assert_is_the_data(open_tiered_imagenet(train, tmp_path / "cache"), "tiered_imagenet")
    for name in {name.partition("/")[0] for name in photos}:
        members = {path.partition("/")[2]: photo for path, photo in photos.items() if path.startswith(name)}
        (tmp_path / "tars").mkdir(exist_ok=True)
        small_data.tar_of(tmp_path / "tars" / f"{name}.tar", members)
    assert_is_the_data(open_tiered_imagenet(tmp_path / "tars", tmp_path / "cache"), "tiered_imagenet")
    with pytest.raises(ValueError, match=r"ILSVRC2012_img_train.tar.*Received: data_dir=None"):
        datasets["tiered_imagenet"].open(data_dir=None, cache_dir=None, split=None)


def test_cub_is_downloaded_or_read_from_its_archive_or_folder(tmp_path):
    photos = {f"CUB_200_2011/images/{name}": photo for name, photo in small_data.photos("cub").items()}
    path = small_data.tar_of(tmp_path / "CUB_200_2011.tgz", {**photos, "attributes.txt": b"1"})
    archive = Archive(path.name, path.as_uri(), hashlib.md5(path.read_bytes()).hexdigest())
    assert_is_the_data(open_cub(cache_dir=tmp_path / "cache", archive=archive), "cub")
    folder = small_data.write(tmp_path / "unpacked", photos)
    for data_dir in (path, tmp_path, folder, folder / "CUB_200_2011" / "images"):
        assert_is_the_data(open_cub(data_dir, tmp_path / "cache"), "cub")


def test_photos_are_decoded_once_into_a_file_that_is_mapped(tmp_path, monkeypatch, caplog):
    folder = small_data.write(tmp_path / "data", small_data.photos("cub"))
    data = open_cub(folder, tmp_path / "cache")
    assert "Expected 200 classes, 11788 photos. Received: 9 and 27" in caplog.text
    [file] = (tmp_path / "cache").iterdir()
    base = data.pool("train").images_of(data.splits["train"][0])
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    monkeypatch.setattr(class_folders, "decode_files", lambda *_: pytest.fail("decoded again"))
    assert_is_the_data(open_cub(folder, tmp_path / "cache"), "cub")
    monkeypatch.undo()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    (folder / data.splits["train"][0] / "0.png").touch()
    os.utime(folder / data.splits["train"][0] / "0.png", (1, 1))
    assert_is_the_data(open_cub(folder, tmp_path / "cache"), "cub")
    assert "No space left on device" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == [file]


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"ant/1.png": small_data.photo(1)}, FileNotFoundError, "none of test"),
        (
            {f"{top}/{name}/1.png": small_data.photo(1) for name in ("ant", "bee") for top in ("images", "masks")},
            ValueError,
            "each class of animals in one folder. Received: '/images/(ant' and '/masks/ant|bee' and '/masks/bee)'",
        ),
        ({"ant/1.png": b"no photo", "bee/1.png": small_data.photo(1)}, ValueError, "ant/1.png, which cannot be dec"),
    ],
)
def test_what_does_not_fit_is_refused(files, error, message, tmp_path):
    small_data.write(tmp_path / "data", files)
    with pytest.raises(error, match=message):
        ClassFolders(
            tmp_path / "data", {"train": ["ant"], "test": ["bee"]}, title="animals", cache_dir=tmp_path / "cache"
        )


def test_what_is_no_folder_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"CUB-200-2011.*which does not exist"):
        open_cub(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="Expected a folder or an archive of tieredImageNet"):
        open_tiered_imagenet(tmp_path / "file")
