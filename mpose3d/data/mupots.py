"""MuPoTS-3D (Mehta et al., 3DV 2018): annotations of the test sequences, and their photographs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.data.annotated import AnnotatedDataModule, AnnotatedFrames, choose
from mpose3d.files import reading
from mpose3d.skeleton import MUPOTS_17

_FIELDS = {"annot2": 2, "annot3": 3, "univ_annot3": 3}


@dataclass(frozen=True)
class MupotsSequence:
    """Annotation of one sequence of F frames with P people, in the joints of `MUPOTS_17`.

    Frame f is the picture `img_<f:06d>`. Fields are named as in the official `annot.mat`.

    Args:
        name: "TS1".
        annot2: (F, P, 17, 2) pixels of the official picture.
        annot3: (F, P, 17, 3) mm in camera space.
        univ_annot3: (F, P, 17, 3) mm, every body scaled to the universal skeleton: what the protocol scores against.
        valid: (F, P) whether the annotation of this person counts in this frame.
        occluded: (F, P, 17), None where the sequence has no `occlusion.mat`.
    """

    name: str
    annot2: Float[Tensor, "f p 17 2"]
    annot3: Float[Tensor, "f p 17 3"]
    univ_annot3: Float[Tensor, "f p 17 3"]
    valid: Bool[Tensor, "f p"]
    occluded: Bool[Tensor, "f p 17"] | None


def read_sequence(folder: Path | str) -> MupotsSequence:
    """The annotation in `folder` (`annot.mat`, and `occlusion.mat` where there is one), in float64.

    Raises:
        FileNotFoundError: no `annot.mat` in the folder.
        ImportError: a MATLAB 7.3 file, and the package h5py is missing.
        ValueError: a file that is truncated, has other fields or shapes, or NaN in a valid annotation.
    """
    folder = Path(folder)
    path = folder / "annot.mat"
    people = _read_cells(path, "annotations")
    for person in people.flat:
        if not isinstance(person, dict) or not {*_FIELDS, "isValidFrame"} <= person.keys():
            found = ", ".join(sorted(person)) if isinstance(person, dict) else type(person).__name__
            raise ValueError(f"{path}: an annotation has {found}, expected {', '.join([*_FIELDS, 'isValidFrame'])}")
    valid = torch.tensor([bool(np.any(person["isValidFrame"])) for person in people.flat]).reshape(people.shape)
    arrays = {field: _stack(people, field, size, path) for field, size in _FIELDS.items()}
    for field, array in arrays.items():
        broken = (valid & ~array.isfinite().all(dim=-1).all(dim=-1)).nonzero()
        if len(broken):
            frame, person = broken[0].tolist()
            raise ValueError(f"{path}: {field} of frame {frame}, person {person} is NaN or infinite but marked valid")

    occluded = None
    if (folder / "occlusion.mat").is_file():
        cells = _read_cells(folder / "occlusion.mat", "occlusion_labels")
        sizes = {np.size(cell) for cell in cells.flat}
        if cells.shape != people.shape or sizes != {len(MUPOTS_17)}:
            raise ValueError(
                f"{folder / 'occlusion.mat'}: {cells.shape} cells of {sorted(sizes)} joints, "
                f"expected {people.shape} of {len(MUPOTS_17)}"
            )
        stacked = np.stack([np.ravel(cell) for cell in cells.flat])
        occluded = torch.from_numpy(stacked != 0).reshape(*people.shape, -1)
    return MupotsSequence(folder.name, **arrays, valid=valid, occluded=occluded)


def find_sequences(root: Path | str) -> list[Path]:
    """Folders of `MultiPersonTestSet` that hold annotations, TS1 before TS10.

    `root` is that folder, or the one above it.

    Raises:
        FileNotFoundError: no sequence below `root`.
    """
    root = Path(root)
    folder = root / "MultiPersonTestSet" if (root / "MultiPersonTestSet").is_dir() else root
    sequences = [path.parent for path in folder.glob("TS*/annot.mat") if re.fullmatch(r"TS\d+", path.parent.name)]
    if not sequences:
        raise FileNotFoundError(f"{root}: no MuPoTS-3D sequence here; expected {root}/MultiPersonTestSet/TS1/annot.mat")
    return sorted(sequences, key=lambda path: int(path.name.removeprefix("TS")))


def _stack(people: np.ndarray, field: str, size: int, path: Path) -> Tensor:
    wanted = (size, len(MUPOTS_17))
    for person in people.flat:
        if np.shape(person[field]) != wanted:
            raise ValueError(f"{path}: {field} has shape {np.shape(person[field])}, expected {wanted}")
    stacked = np.stack([person[field] for person in people.flat]).astype(np.float64)
    return torch.from_numpy(stacked).mT.reshape(*people.shape, len(MUPOTS_17), size).contiguous()


def _read_cells(path: Path, variable: str) -> np.ndarray:
    """The frames x people cell array `variable`; a struct in it becomes a dict of arrays."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file (the annotation of a MuPoTS-3D sequence)")
    with open(path, "rb") as handle:
        # MATLAB 7.3 writes HDF5 behind its 512 byte header
        if handle.read(128)[:19] == b"MATLAB 7.3 MAT-file":
            return _read_cells_hdf5(path, variable)
    with reading(path, "a readable .mat file, truncated?"):
        contents = scipy.io.loadmat(path, variable_names=[variable])
    if variable not in contents:
        found = ", ".join(name for name, *_ in scipy.io.whosmat(path))
        raise ValueError(f"{path}: has {found or 'nothing'}, expected {variable}")
    cells = contents[variable]
    if cells.dtype != object or cells.ndim != 2 or cells.size == 0:
        raise ValueError(f"{path}: {variable} is {cells.dtype} of shape {cells.shape}, expected frames x people cells")
    unpacked = np.empty(cells.shape, dtype=object)
    for at, cell in np.ndenumerate(cells):
        if cell.dtype.names and cell.size != 1:
            raise ValueError(f"{path}: a cell of {variable} holds {cell.size} structs, expected 1")
        unpacked[at] = {name: cell[name].item() for name in cell.dtype.names} if cell.dtype.names else cell
    return unpacked


def _read_cells_hdf5(path: Path, variable: str) -> np.ndarray:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path}: a MATLAB 7.3 file needs the package h5py: pip install mpose3d[mat73]") from error
    with reading(path, "a readable MuPoTS-3D .mat file"), h5py.File(path) as file:
        if variable not in file:
            raise ValueError(f"has {', '.join(file)}, expected {variable}")
        # HDF5 holds MATLAB's columns as rows
        references = file[variable][()].T
        cells = np.empty(references.shape, dtype=object)
        for at, reference in np.ndenumerate(references):
            item = file[reference]
            cells[at] = {k: v[()].T for k, v in item.items()} if isinstance(item, h5py.Group) else item[()].T
    return cells


class MupotsFrames(AnnotatedFrames[MupotsSequence]):
    """`points` are `annot2` and `joints` are `univ_annot3`: what the protocol matches and scores."""

    def __init__(
        self, sequences: Sequence[MupotsSequence], pictures: Sequence[Mapping[int, Path]], image_size: int
    ) -> None:
        super().__init__(sequences, pictures, max(sequence.valid.shape[1] for sequence in sequences), image_size)

    def people(self, at: int, frame: int) -> tuple[Tensor, Tensor, Tensor]:
        sequence = self.sequences[at]
        return sequence.annot2[frame], sequence.univ_annot3[frame], sequence.valid[frame]

    def official_size(self, at: int) -> tuple[int, int]:
        return official_size(self.sequences[at].name)


def find_pictures(folder: Path | str) -> dict[int, Path]:
    """Frame -> picture `img_<frame>.jpg` or `.png` of a sequence's folder."""
    found = {path: re.fullmatch(r"img_(\d+)\.(jpg|png)", path.name) for path in sorted(Path(folder).glob("img_*"))}
    return {int(match[1]): path for path, match in found.items() if match}


def official_size(sequence: str) -> tuple[int, int]:
    """(width, height) of the official pictures of a sequence: TS1-5 come from another camera than TS6-20."""
    return (2048, 2048) if int(sequence.removeprefix("TS")) <= 5 else (1920, 1080)


def size_by_name(picture: str) -> tuple[int, int] | None:
    """`official_size` of a picture called TSn_img_NNNNNN; None of any other name."""
    match = re.fullmatch(r"(TS\d+)_img_\d+", picture)
    return official_size(match[1]) if match else None


class MupotsDataModule(AnnotatedDataModule):
    """The test sequences of MuPoTS-3D in their official layout (docs/data.md), for test and predict.

    Args:
        root: the folder MultiPersonTestSet, or the one that holds it.
        images: folder that holds the pictures as TSn/img_NNNNNN.jpg or .png, official or a smaller copy; null: `root`.
        sequences: names such as TS1; null: every sequence that has annotations.
        reading: image_size, batch_size and num_workers, see `AnnotatedDataModule`.
    """

    layout = MUPOTS_17

    def __init__(
        self, root: str, images: str | None = None, sequences: list[str] | None = None, **reading: Any
    ) -> None:
        super().__init__(**reading)
        self.root = root
        self.images = images
        self.sequences = sequences

    def setup(self, stage: str | None = None) -> None:
        """Reads the annotations and finds the pictures.

        Raises:
            FileNotFoundError: a sequence, or every picture of one, is missing.
            ValueError: annotations that cannot be read, or a picture of a frame that they do not have.
        """
        if self.dataset is not None:
            return
        available = {folder.name: folder for folder in find_sequences(self.root)}
        folders = choose(self.sequences, available, self.root)
        places = {name: Path(self.images) / name for name in folders} if self.images else folders
        pictures = {name: find_pictures(place) for name, place in places.items()}
        missing = [name for name in folders if not pictures[name]]
        if missing:
            raise FileNotFoundError(
                f"{self.images or self.root}: no picture (img_000000.jpg, ...) of {', '.join(missing)}; "
                "name the sequences to use, or add their pictures"
            )
        sequences = [read_sequence(folder) for folder in folders.values()]
        for sequence in sequences:
            last = max(pictures[sequence.name])
            if last >= len(sequence.valid):
                raise ValueError(
                    f"{pictures[sequence.name][last]}: the annotations have {len(sequence.valid)} frames only"
                )
        self.dataset = MupotsFrames(sequences, list(pictures.values()), self.image_size)
