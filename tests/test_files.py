"""Files that are there whole or not at all, and what is said of those that are not what they should be."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from mpose3d.files import open_npz, reading, spare_inputs, whole_or_none


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.npz"
    with whole_or_none(path) as unfinished:
        assert unfinished.suffix == ".npz" and unfinished.parent == path.parent
        unfinished.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_what_is_read_is_not_written_over(tmp_path):
    path, other = tmp_path / "a.npz", tmp_path / "b.npz"
    spare_inputs(path, path, None, other)  # neither is there
    path.write_text("mine")
    other.symlink_to(path)
    spare_inputs(tmp_path / "c.npz", path, other)
    for given in (path, other, tmp_path / "." / "a.npz"):
        with pytest.raises(ValueError, match=r"--out .*a\.npz is .*, which is read and would be written over"):
            spare_inputs(path, None, given)


def test_what_was_there_stays_when_writing_fails(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), whole_or_none(path) as unfinished:
        unfinished.write_text("ne")
        raise OSError("disk full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_nothing_written_changes_nothing(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), whole_or_none(path):
        pass
    assert path.read_text() == "old"


def test_folders_and_what_a_killed_run_left(tmp_path):
    path = tmp_path / "packed"
    with whole_or_none(path) as unfinished:
        unfinished.mkdir()
        (unfinished / "0.tar").write_text("cut")
    path.rename(unfinished)  # as if the run had been killed before the end
    with pytest.raises(RuntimeError), whole_or_none(path) as unfinished:
        assert not unfinished.exists()
        unfinished.mkdir()
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "why"), [("{", "Expecting property name"), ("[]", "list indices"), ("{}", r"no 'size'\)")]
)
def test_a_file_of_something_else_is_told_in_a_line(tmp_path, content, why):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"a\.json: not a list of sizes \(.*{why}"), reading(path, "a list of sizes"):
        json.loads(path.read_text())["size"]


@pytest.mark.parametrize(("error", "why"), [(EOFError(), "EOFError"), (RuntimeError("cut\nat 3"), "cut")])
def test_an_error_of_no_line_or_of_several_is_told_in_one(tmp_path, error, why):
    path = tmp_path / "a.json"
    path.touch()
    with pytest.raises(ValueError, match=rf"not a list \({why}\)$"), reading(path, "a list"):
        raise error


def test_what_is_missing_is_told_as_it_is(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"a\.json: no such file; expected a list"),
        reading(tmp_path / "a.json", "a list"),
    ):
        pass
    for missing in (FileNotFoundError("another"), ImportError("a package")):
        (tmp_path / "a.json").touch()
        with pytest.raises(type(missing), match=str(missing)), reading(tmp_path / "a.json", "a list"):
            raise missing


def test_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.ones(3), code=np.array([print], dtype=object))
    with open_npz(path, "an npz of ones") as content:
        assert content["a"].sum() == 3
    for key, why in (("b", "b is not a file in the archive"), ("code", "Object arrays cannot be loaded")):
        with (
            pytest.raises(ValueError, match=rf"a\.npz: not an npz of ones \({why}"),
            open_npz(path, "an npz of ones") as content,
        ):
            content[key]
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="a single array, expected an npz"), open_npz(path, "an npz of ones"):
        pass


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.filterwarnings("ignore")
def test_damage_of_any_kind_to_an_npz_is_a_value_error(tmp_path, save):
    path, draw = tmp_path / "a.npz", random.Random(0)
    save(path, a=np.arange(300.0) ** 0.5)
    whole = path.read_bytes()
    told = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(damaged))] ^= draw.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            with open_npz(path, "an npz of roots") as content:
                content["a"]
        except ValueError as error:
            assert str(error).startswith(f"{path}: not an npz of roots (")
            told += 1
    assert told > 100
