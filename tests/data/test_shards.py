"""Images packed into tar files: the same pictures in the same batches, and nothing half-written."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mpose3d.cli import main
from mpose3d.data.check import check
from mpose3d.data.images import ImageFolderDataModule, PhotographDataset, find_photographs
from mpose3d.data.shards import members, pack, read_member
from tests.data.official_layouts import write_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """23 pictures of several kinds and sizes in two folders, a text file and a file that is no image."""
    for i in range(23):
        path = tmp_path / "plain" / ("a" if i % 2 else "b/deeper") / f"{i}.{('jpg', 'png', 'webp')[i % 3]}"
        write_picture(path, 40 + i, 30 + 3 * i, seed=i)
    (tmp_path / "plain" / "notes.txt").write_text("no image")
    (tmp_path / "plain" / "a" / "broken.jpg").write_bytes(b"no image either")
    return tmp_path / "plain"


def batches(root: Path, **options) -> list:
    data = ImageFolderDataModule([str(root)], image_size=32, batch_size=4, seed=3, **options)
    data.setup("fit")
    loader = data.train_dataloader()
    return [batch for _ in range(2) for batch in loader]


@pytest.mark.filterwarnings("ignore:1 photographs do not open")
@pytest.mark.parametrize("workers", [0, 2])
def test_packed_and_plain_give_the_same_batches(folder, tmp_path, workers):
    pack(str(folder), str(tmp_path / "packed"))
    plain, packed = batches(folder), batches(tmp_path / "packed", num_workers=workers)
    assert len(plain) == len(packed) == 10
    for one, other in zip(plain, packed, strict=True):
        assert torch.equal(one.index, other.index) and torch.equal(one.image, other.image)


def test_files_are_ordinary_tar_files_and_bytes_are_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mpose3d.data.shards._MB", 4000)  # several small files in place of one large one
    pack(str(folder), str(tmp_path / "packed"), shard_mb=2)
    shards = sorted((tmp_path / "packed").glob("*.tar"))
    assert len(shards) > 3
    for shard in shards:
        assert shard.stat().st_size < 40_000
        with tarfile.open(shard) as tar:
            names = tar.getnames()
            for member in members(shard):
                content = tar.extractfile(member.name).read()
                assert read_member(shard, member.offset, member.size) == content == (folder / member.name).read_bytes()
        assert names == [member.name for member in members(shard)]
    everything = [member.name for shard in shards for member in members(shard)]
    assert len(everything) == 23 and everything == sorted(everything, key=lambda name: Path(name).parts)


def test_tar_files_without_an_index(folder, tmp_path):
    """As other tools write them: their headers say where the images are."""
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(folder, "plain")
    sources, unreadable = find_photographs([tmp_path / "other.tar"])
    assert len(sources) == 24 and not unreadable
    plain, _ = find_photographs([folder])
    by_name = {source.path.name: source for source in sources}
    for source in plain:
        np.testing.assert_array_equal(by_name[source.path.name].read(0)[0], source.read(0)[0])
    # the one that is no image is replaced when its turn comes
    dataset = PhotographDataset(sources, 32)
    broken = [source.path.name for source in sources].index("broken.jpg")
    with pytest.warns(UserWarning, match=r"skipped: .*other\.tar/plain/a/broken\.jpg: not a readable image"):
        assert int(dataset[broken].index) == (broken + 1) % 24


def test_the_command_says_what_it_leaves_out(folder, tmp_path, capsys):
    assert main(["data", "pack", str(folder), "--out", str(tmp_path / "packed")]) == 0
    told = capsys.readouterr().out
    assert "23 images in 1 files" in told
    assert "1 files do not open and are left out: a/broken.jpg" in told
    assert "1 files are not images and are left out: notes.txt" in told
    assert check("images", tmp_path / "packed").counts == {"files": 23, "images": 23}
    for wrong, message in (
        (["--out", str(tmp_path / "packed")], "exists"),
        (["--out", "x", "--shard_mb", "0"], "at least 1"),
    ):
        assert main(["data", "pack", str(folder), *wrong]) == 1
        assert message in capsys.readouterr().err
    assert main(["data", "pack", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")]) == 1
    assert "no such folder" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_an_interrupted_pack_leaves_no_folder(folder, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mpose3d.data.shards.json.dumps", stop)
        with pytest.raises(KeyboardInterrupt):
            pack(str(folder), str(tmp_path / "packed"))
    assert not (tmp_path / "packed").exists()
    pack(str(folder), str(tmp_path / "packed"))
    assert len(find_photographs([tmp_path / "packed"])[0]) == 23 and not list(tmp_path.glob("*.part"))


def test_compressed_tar_files_are_told(folder, tmp_path):
    (tmp_path / "some").mkdir()
    for name in ("a.tar.gz", "b.tgz"):
        (tmp_path / "some" / name).write_bytes(b"\x1f\x8b")
    with pytest.raises(ValueError, match=r"a\.tar\.gz: a compressed tar file cannot be read at any place: unpack it"):
        find_photographs([tmp_path / "some"])
    _, unreadable = find_photographs([tmp_path / "some", folder])
    assert {"a.tar.gz", "b.tgz"} <= {path.name for path in unreadable}


def test_damaged_shards_name_themselves(folder, tmp_path):
    packed = tmp_path / "packed"
    pack(str(folder), str(packed))
    shard = packed / "000000.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[:5000])
    with pytest.raises(ValueError, match=r"000000\.tar: 5,000 bytes, .* by .*shards\.json: copied in part"):
        find_photographs([packed])
    shard.write_bytes(content)
    for index in ({"version": 1}, {"shards": {"000000.tar": [["a.jpg", None, 3]]}}):
        (packed / "shards.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match=r"shards\.json: not an index of tar files: pack the folder again"):
            find_photographs([packed])
    (packed / "shards.json").unlink()
    shard.write_bytes(b"not a tar file" * 100)
    with pytest.raises(ValueError, match=r"000000\.tar: not a readable tar file"):
        find_photographs([packed])
