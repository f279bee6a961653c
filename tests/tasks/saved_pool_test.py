"""Pools in a file: the same episodes, images that are not in memory, and files that are broken or something else."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from maml_tf.baselines import labelled_batches
from maml_tf.tasks import ClassPool, images
from maml_tf.tasks.image_store import ImageStore


def pool_of(dtype=np.uint8, labels=None, **options):
    labels = np.repeat([10, 9, 300], [4, 6, 5]) if labels is None else labels
    values = np.random.default_rng(0).integers(0, 2 if dtype == np.bool_ else 200, [len(labels), 5, 5, 3])
    return ClassPool(values.astype(dtype), labels, **options)


def episodes(pool):
    return [pool.episode(3, index, ways=2, shots=1, queries=2) for index in range(3)]


def streams(pool):
    """Meta-batches of the second of three shares of the tasks, and batches of labelled images."""
    shared = pool.episodes(3, ways=2, shots=1, queries=2, meta_batch_size=4, tasks=12, share=(1, 3))
    return list(shared), list(labelled_batches(pool, 5, 8, rotations=True).take(2))


def assert_same(one, other):
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(
    ("pool", "memory_map"),
    [
        (pool_of(), True),
        (pool_of(), False),
        (pool_of(np.float16, rotations=True), True),
        (pool_of(">i4", ["b", "é", "b", "a", "a", "é"] * 3), True),
        (pool_of(np.bool_).subset(["300", "10"]), True),
    ],
    ids=str,
)
def test_episodes_are_those_of_the_pool_that_was_saved(pool, memory_map, tmp_path):
    path = pool.save(tmp_path / "pool")
    loaded = ClassPool.load(path, memory_map=memory_map)
    assert repr(loaded) == repr(pool)
    assert (loaded.class_names, loaded.rotations) == (pool.class_names, pool.rotations)
    assert_same(episodes(loaded), episodes(pool))
    # Any program of NumPy reads the images.
    stored = np.load(path)
    np.testing.assert_array_equal(stored, np.concatenate([pool.images_of(name) for name in pool.class_names]))
    assert stored.dtype == pool.images_of(pool.class_names[0]).dtype
    assert [entry.name for entry in tmp_path.iterdir()] == ["pool"]
    # A copy of a loaded pool is the same file.
    assert loaded.save(tmp_path / "copy").read_bytes() == path.read_bytes()


def test_streams_are_those_of_the_pool_that_was_saved(tmp_path):
    pool = pool_of(rotations=True).subset(["300", "10"])
    assert_same(streams(ClassPool.load(pool.save(tmp_path / "pool"))), streams(pool))


def test_a_transform_is_given_again(tmp_path):
    pool = pool_of(transform=lambda drawn: tf.cast(drawn, tf.float32) + 1000.0)
    loaded = ClassPool.load(pool.save(tmp_path / "pool"), transform=pool.transform)
    assert_same(episodes(loaded), episodes(pool))
    assert np.min(episodes(loaded)[0].query_x) >= 1000


def test_a_pool_may_be_larger_than_memory(tmp_path):
    """Of a file with holes: four times the memory, of which an episode and a batch read a few pages."""
    classes, size = 8, 1 << 20
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    each = 4 * memory // (classes * size)
    small = ClassPool(np.zeros([classes, size], np.uint8), range(classes)).save(tmp_path / "small").read_bytes()
    path, end = tmp_path / "large", small[small.index(b'{"class_names"') :]
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (classes * each, size)}
        )
        first = file.tell()
        file.truncate(first + classes * each * size)
        for number in range(classes):
            file.seek(first + ((number + 1) * each - 1) * size)
            file.write(bytes([number]))  # The last image of each class begins with the class' number.
        file.seek(0, os.SEEK_END)
        text = end[: end.index(b"}") + 1].replace(b"[" + b"1, " * 7 + b"1]", str([each] * classes).encode())
        file.write(text + len(text).to_bytes(8, "little") + end[end.index(b"}") + 9 :])
    pool = ClassPool.load(path, transform=lambda drawn: drawn[:, :4])
    assert pool.class_sizes.tolist() == [each] * classes and path.stat().st_size > 3 * memory
    (support_x, *_), query_y = next(iter(pool.episodes(0, ways=5, shots=1, queries=1, meta_batch_size=2)))
    assert (support_x.shape, query_y.shape) == ((2, 5, 4), (2, 5))
    last = tf.constant([(number + 1) * each - 1 for number in range(classes)])
    np.testing.assert_array_equal(pool.look_up(last)[:, 0], range(classes))
    np.testing.assert_array_equal(pool.subset(["5", "2"]).look_up(last[:2])[:, 0], [2, 5])
    assert pool.images_of("7")[-1, 0] == 7
    # So may an array that a user maps.
    mapped = ClassPool(np.load(path, mmap_mode="r"), np.repeat(range(classes), each))
    np.testing.assert_array_equal(mapped.look_up(last)[:, 0], range(classes))


def test_a_read_only_mapping_is_shared(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros([4, 16], np.uint8))
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    tensor = ImageStore(array).tensor
    np.load(tmp_path / "a.npy", mmap_mode="r+")[2] = 7
    assert int(tensor[2, 3]) == 7
    assert not array.flags.writeable
    del array
    assert int(tensor[2, 3]) == 7


def test_a_file_that_is_replaced_leaves_those_who_read_it_alone(tmp_path):
    path = pool_of().save(tmp_path / "pool")
    loaded = ClassPool.load(path)
    before = episodes(loaded)
    pool_of(labels=[1, 2] * 5).save(path)
    assert_same(episodes(loaded), before)
    assert ClassPool.load(path).class_names == ("1", "2")


def test_a_file_that_is_cut_off_or_something_else_is_one_error(tmp_path):
    path = pool_of().save(tmp_path / "pool")
    whole = path.read_bytes()
    for length in (0, 3, 60, 127, 128, 200, 1000, len(whole) - 150, len(whole) - 20, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"Expected a file that ClassPool.save wrote. Received: .*pool'") as error:
            ClassPool.load(path)
        assert "\n" not in str(error.value)
    for content in (whole + b" ", b"PK" + whole, whole.replace(b"[6, 4, 5]", b"[6, 4, 9]"), b"text\n" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"Expected a file that ClassPool.save wrote"):
            ClassPool.load(path)
    np.save(tmp_path / "array.npy", np.zeros([15, 5, 5, 3], np.uint8))
    with pytest.raises(ValueError, match="an array without the names of its classes"):
        ClassPool.load(tmp_path / "array.npy")
    with pytest.raises(FileNotFoundError, match=r"'.*none', which is none"):
        ClassPool.load(tmp_path / "none")


def test_a_folder_is_decoded_once_into_a_file_that_is_mapped(tmp_path, monkeypatch):
    folder, cache = tmp_path / "birds", tmp_path / "cache"
    for number in range(6):
        (folder / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (number, 0, 9)).save(folder / f"{number % 3}" / f"{number}.png")
    in_memory = ClassPool.from_folder(folder, 4)
    pool = ClassPool.from_folder(folder, 4, cache_dir=cache)
    [file] = cache.iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(images, "decode_files", lambda *_: pytest.fail("decoded again"))
        again = ClassPool.from_folder(folder, 4, cache_dir=cache)
    for one in (pool, again):
        for name in in_memory.class_names:
            np.testing.assert_array_equal(one.images_of(name), in_memory.images_of(name))
            assert not one.images_of(name).flags.writeable
    # Another size, another number of channels, and another image are another file.
    ClassPool.from_folder(folder, 3, cache_dir=cache)
    ClassPool.from_folder(folder, 4, 1, cache_dir=cache)
    Image.new("RGB", (6, 5), (77, 0, 9)).save(folder / "0" / "0.png")
    os.utime(folder / "0" / "0.png", (1, 1))
    changed = ClassPool.from_folder(folder, 4, cache_dir=cache)
    assert changed.images_of("0")[0, 0, 0, 0] == 77 and len(list(cache.iterdir())) == 4
    assert file.exists()
