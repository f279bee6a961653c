import pytest

from maml_tf.registry import Registry, import_file, imported_files


def test_entries_are_found_by_name_and_kept_in_order():
    registry = Registry("fruit")
    registry.register("pear", 1)
    registry.register("apple", 2)

    assert registry.names() == ("pear", "apple")
    assert list(registry) == ["pear", "apple"]
    assert registry["apple"] == 2
    assert "apple" in registry and "plum" not in registry
    assert registry.items() == (("pear", 1), ("apple", 2))
    assert len(registry) == 2


@pytest.mark.parametrize("name", ["", "Two Words", "two words", "UPPER", "a-b"])
def test_a_name_that_no_flag_can_take_is_refused(name):
    with pytest.raises(ValueError, match="fruit"):
        Registry("fruit").register(name, 1)


def test_a_name_stands_for_one_entry():
    registry, entry = Registry("fruit"), object()
    registry.register("pear", entry)
    registry.register("pear", entry)  # The same module imported twice.

    with pytest.raises(ValueError, match="pear"):
        registry.register("pear", object())


@pytest.mark.parametrize("name", ["plum", None, ["pear"]])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    registry = Registry("fruit")
    registry.register("pear", 1)

    with pytest.raises(ValueError, match="pear"):
        registry[name]


def test_a_file_is_imported_once_and_another_of_its_name_too(tmp_path):
    files = [tmp_path / folder / "entries.py" for folder in ("one", "other")]
    for file in files:
        file.parent.mkdir()
        file.write_text("with open(__file__ + '.log', 'a') as log:\n    log.write('imported ')")
        import_file(file)
        import_file(file)

    assert [(file.parent / "entries.py.log").read_text() for file in files] == ["imported "] * 2
    assert imported_files()[-2:] == tuple(map(str, files))


@pytest.mark.parametrize("path", ["gone.py", "gone.txt"])
def test_a_file_that_is_not_there(path):
    with pytest.raises(ValueError, match=path):
        import_file(path)
