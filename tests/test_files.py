"""Files that are there whole or not at all."""

from __future__ import annotations

import pytest

from mpose3d.files import whole_or_none


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.npz"
    with whole_or_none(path) as unfinished:
        assert unfinished.suffix == ".npz" and unfinished.parent == path.parent
        unfinished.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


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
