"""One file that gives the people of the package."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from mpose3d.data.letterbox import Letterbox
from mpose3d.export import export
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.teacher import SmallTeacher
from mpose3d.readers import MapReader
from mpose3d.skeleton import SKELETON

SIDE, PEOPLE, THRESHOLD = 96, 6, 0.3
SHAPES = {"joints_mm": (15, 3), "joints_px": (15, 2), "root_px": (2,), "score": (), "mask": ()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network that sees people in some places: (path of its weights, its teacher, the network)."""
    torch.manual_seed(0)
    network = CrossModalNetwork("mpose3d", v_channels=8, stride=4, input_size=64, g_width=4, h_width=16)
    torch.nn.init.normal_(network.h.root.weight, std=2.0)
    path = tmp_path_factory.mktemp("export") / "network.safetensors"
    network.save(path)
    return path, SmallTeacher(width=8), network


def write(made, folder, format: str):
    path, teacher, _ = made
    out = folder / "new" / f"people.{format}"
    arguments = {"teacher_size": SIDE, "max_people": PEOPLE, "threshold": THRESHOLD}
    assert export(out=str(out), format=format, weights=str(path), teacher=teacher, **arguments) == 0
    assert [file.name for file in out.parent.iterdir()] == [out.name]
    return out


def run_onnx(path) -> tuple:
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert [tensor.name for tensor in session.get_inputs()] == ["image"]

    def run(image: Tensor) -> dict[str, Tensor]:
        outputs = session.run(None, {"image": image.numpy()})
        return {name: torch.from_numpy(output) for name, output in zip(names, outputs, strict=True)}

    return run, session.get_modelmeta().custom_metadata_map["mpose3d"]


def run_torchscript(path) -> tuple:
    files = {"mpose3d": ""}
    return torch.jit.load(path, _extra_files=files), files["mpose3d"]


def run_pt2(path) -> tuple:
    files = {"mpose3d": ""}
    return torch.export.load(path, extra_files=files).module(), files["mpose3d"]


LOADERS = {"onnx": run_onnx, "torchscript": run_torchscript, "pt2": run_pt2}


@pytest.mark.parametrize("format", LOADERS)
@pytest.mark.filterwarnings("ignore:.*torch.jit.load:DeprecationWarning")
def test_a_file_gives_the_people_of_eager(made, tmp_path, format):
    """At any batch size, to 0.5 mm and a hundredth of a pixel."""
    if format == "onnx":
        pytest.importorskip("onnxscript")
    _, teacher, network = made
    run, description = LOADERS[format](write(made, tmp_path, format))
    reader = MapReader(teacher, network, teacher_size=SIDE, max_people=PEOPLE, threshold=THRESHOLD)
    box = Letterbox.fit(SIDE, SIDE, SIDE)
    images = torch.randint(0, 256, (3, SIDE, SIDE, 3), dtype=torch.uint8)
    for batch in (images[:1], images):
        with torch.no_grad():
            found = run(batch.permute(0, 3, 1, 2).float().contiguous() / 255)
        assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
            name: (len(batch), PEOPLE, *shape) for name, shape in SHAPES.items()
        }
        assert found["mask"].any() and found["mask"].dtype == torch.bool
        for i, image in enumerate(batch.numpy()):
            people, mask = reader.read(image, box), found["mask"][i]
            assert int(mask.sum()) == len(people.score)
            for name, atol in {"joints_mm": 0.5, "joints_px": 0.01, "root_px": 0.01, "score": 1e-5}.items():
                expected = torch.from_numpy(getattr(people, name)).float()
                torch.testing.assert_close(found[name][i][mask], expected, rtol=0, atol=atol)
                assert not found[name][i][~mask].any()
    told = json.loads(description)
    assert told["skeleton"]["names"] == list(SKELETON.names) and told["threshold"] == THRESHOLD


def test_what_does_not_fit_is_refused_and_nothing_written(made, tmp_path):
    path, _, _ = made
    with pytest.raises(ValueError, match="'image' needs the teacher that the network was trained with"):
        export(
            out=str(tmp_path / "new" / "a.pt2"),
            format="pt2",
            weights=str(path),
            teacher=SmallTeacher(width=16),
            pathway="image",
        )
    with pytest.raises(ValueError, match=r"a\.pt2 is the name of a file of pt2, --format is onnx"):
        export(out=str(tmp_path / "new" / "a.pt2"))
    with pytest.raises(ValueError, match="--max_people 5000 is more than the 64 cells"):
        export(out=str(tmp_path / "new" / "a.pt2"), format="pt2", weights=str(path), max_people=5000)
    with pytest.raises(ValueError, match="which is read and would be written over"):
        export(out=str(path), format="pt2", weights=str(path))
    with pytest.raises(ValueError, match="--threshold is the least score of a person"):
        export(out=str(tmp_path / "new" / "a.pt2"), format="pt2", weights=str(path), threshold=float("nan"))
    assert not list(tmp_path.iterdir())
