from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import jsonargparse
import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mpose3d import assets
from mpose3d.networks.teacher import LightweightOpenPose, MobilenetThin, OpenPose, SmallTeacher, Teacher
from mpose3d.networks.weights import read_weights
from mpose3d.representations.hmpaf import HMPAF, draw
from mpose3d.skeleton import COCO_17, COCO_18, LAYOUTS, SKELETON

# --- an independent reference: Caffe definitions, run layer by layer in numpy, and by OpenCV where it still reads them


class Layer(NamedTuple):
    """One layer of a Caffe definition; its output is called as it is."""

    name: str
    kind: str
    bottoms: tuple[str, ...]
    out: int = 0
    kernel: int = 1
    stride: int = 1
    pad: int = 0
    dilation: int = 1
    group: int = 1


class Definition(list[Layer]):
    """A Caffe definition, written down from top to bottom."""

    def conv(
        self, name: str, bottom: str, out: int, kernel: int, activation: str = "ReLU", dilation: int = 1, **more: int
    ) -> str:
        pad = dilation * (kernel // 2)
        self.append(Layer(name, "Convolution", (bottom,), out, kernel, pad=pad, dilation=dilation, **more))
        return self.other(f"{name}/{activation}", activation, name) if activation else name

    def other(self, name: str, kind: str, *bottoms: str) -> str:
        self.append(Layer(name, kind, bottoms))
        return name

    def prototxt(self, size: tuple[int, int]) -> str:
        lines = ['input: "image"'] + [f"input_dim: {n}" for n in (1, 3, *size)]
        for layer in self:
            bottoms = " ".join(f'bottom: "{b}"' for b in layer.bottoms)
            options = {
                "Convolution": (
                    f"convolution_param {{ num_output: {layer.out} kernel_size: {layer.kernel} stride: {layer.stride} "
                    f"pad: {layer.pad} dilation: {layer.dilation} group: {layer.group} }}"
                ),
                "Pooling": "pooling_param { pool: MAX kernel_size: 2 stride: 2 }",
                "Concat": "concat_param { axis: 1 }",
                "Eltwise": "eltwise_param { operation: SUM }",
            }.get(layer.kind, "")
            lines.append(
                f'layer {{ name: "{layer.name}" type: "{layer.kind}" {bottoms} top: "{layer.name}" {options} }}'
            )
        return "\n".join(lines)

    def random_weights(self, seed: int = 0) -> dict[str, np.ndarray]:
        random, channels, tensors = np.random.default_rng(seed), {"image": 3}, {}
        for layer in self:
            read = [channels[b] for b in layer.bottoms]
            channels[layer.name] = sum(read) if layer.kind == "Concat" else layer.out or read[0]
            if layer.kind == "Convolution":
                shape = (layer.out, read[0] // layer.group, layer.kernel, layer.kernel)
                weight = random.standard_normal(shape, dtype=np.float32) * np.sqrt(2 / np.prod(shape[1:]))
                tensors[f"{layer.name}.weight"] = weight.astype(np.float32)
                tensors[f"{layer.name}.bias"] = 0.1 * random.standard_normal(layer.out, dtype=np.float32)
        return tensors

    def numpy_forward(self, tensors: dict[str, np.ndarray], image: np.ndarray) -> dict[str, np.ndarray]:
        """Blobs (C, H, W) by name."""
        blobs = {"image": image.astype(np.float64)}
        for layer in self:
            x = [blobs[b] for b in layer.bottoms]
            if layer.kind == "Convolution":
                y = _convolve(x[0], tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.bias"], layer)
            elif layer.kind == "Pooling":
                y = sliding_window_view(x[0], (2, 2), axis=(1, 2))[:, ::2, ::2].max(axis=(-2, -1))
            else:
                y = {
                    "ReLU": lambda x: np.maximum(x[0], 0),
                    "ELU": lambda x: np.where(x[0] > 0, x[0], np.expm1(np.minimum(x[0], 0))),
                    "Concat": np.concatenate,
                    "Eltwise": sum,
                }[layer.kind](x)
            blobs[layer.name] = y
        return blobs


def _convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, layer: Layer) -> np.ndarray:
    x = np.pad(x, ((0, 0), (layer.pad, layer.pad), (layer.pad, layer.pad)))
    reach = layer.dilation * (layer.kernel - 1) + 1
    windows = sliding_window_view(x, (reach, reach), axis=(1, 2))
    windows = windows[:, :: layer.stride, :: layer.stride, :: layer.dilation, :: layer.dilation]
    windows = windows.reshape(layer.group, -1, *windows.shape[1:])
    weight = weight.astype(np.float64).reshape(layer.group, -1, *weight.shape[1:])
    y = np.stack([np.tensordot(w, v, axes=([1, 2, 3], [0, 3, 4])) for w, v in zip(weight, windows, strict=True)])
    return y.reshape(-1, *y.shape[2:]) + bias[:, None, None]


def _caffemodel(tensors: dict[str, np.ndarray], legacy: bool = False) -> bytes:
    """Convolutions as a serialised NetParameter, `legacy` with V1 layers and four-dimensional blobs."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    def message(field: int, content: bytes) -> bytes:
        return varint(field << 3 | 2) + varint(len(content)) + content

    def blob(values: np.ndarray) -> bytes:
        if legacy:
            sizes = (1,) * (4 - values.ndim) + values.shape
            shape = b"".join(varint(field << 3) + varint(size) for field, size in enumerate(sizes, start=1))
        else:
            shape = message(7, message(1, b"".join(map(varint, values.shape))))
        return shape + message(5, values.astype("<f4").tobytes())

    def layer(name: str) -> bytes:
        content = (tensors[f"{name}.weight"], tensors[f"{name}.bias"])
        if legacy:  # V1: blobs 6, name 4, type 5 (4 is CONVOLUTION)
            body = b"".join(message(6, blob(c)) for c in content) + message(4, name.encode()) + b"\x28\x04"
            return message(2, body)
        body = message(1, name.encode()) + message(2, b"Convolution") + b"".join(message(7, blob(c)) for c in content)
        return message(100, body)

    names = dict.fromkeys(key.rpartition(".")[0] for key in tensors)
    return message(1, b"net") + b"".join(map(layer, names))


def _opencv_forward(definition: Definition, tensors: dict, image: np.ndarray, outputs: list[str], folder: Path) -> list:
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip(f"OpenCV {cv2.__version__} no longer reads Caffe models; OpenCV 4 does")
    (folder / "net.prototxt").write_text(definition.prototxt(image.shape[1:]))
    (folder / "net.caffemodel").write_bytes(_caffemodel(tensors))
    net = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    net.setInput(image[None].astype(np.float32))
    return [blob[0] for blob in net.forward(outputs)]


def openpose_definition(pafs: int, heatmaps: int) -> Definition:
    """pose_deploy_linevec.prototxt up to stage 2."""
    d, x, block = Definition(), "image", 1
    for name, out in (
        ("conv1_1", 64), ("conv1_2", 64), ("conv2_1", 128), ("conv2_2", 128), ("conv3_1", 256), ("conv3_2", 256),
        ("conv3_3", 256), ("conv3_4", 256), ("conv4_1", 512), ("conv4_2", 512),
        ("conv4_3_CPM", 256), ("conv4_4_CPM", 128),
    ):  # fmt: skip
        if int(name[4]) > block:
            x, block = d.other(f"pool{block}_stage1", "Pooling", x), block + 1
        x = d.conv(name, x, out, 3)
    trunk, ends = x, []
    for branch, maps in (("L1", pafs), ("L2", heatmaps)):
        x = trunk
        for i, out, kernel in ((1, 128, 3), (2, 128, 3), (3, 128, 3), (4, 512, 1)):
            x = d.conv(f"conv5_{i}_CPM_{branch}", x, out, kernel)
        ends.append(d.conv(f"conv5_5_CPM_{branch}", x, maps, 1, activation=""))
    both = d.other("concat_stage2", "Concat", *ends, trunk)
    for branch, maps in (("L1", pafs), ("L2", heatmaps)):
        x = both
        for i, kernel in ((1, 7), (2, 7), (3, 7), (4, 7), (5, 7), (6, 1)):
            x = d.conv(f"Mconv{i}_stage2_{branch}", x, 128, kernel)
        d.conv(f"Mconv7_stage2_{branch}", x, maps, 1, activation="")
    return d


def lightweight_definition() -> Definition:
    """human-pose-estimation-0001.prototxt, batch normalisation folded."""
    d = Definition()
    x, channels = d.conv("conv1", "image", 32, 3, stride=2), 32
    for name, out, stride in (
        ("2_1", 64, 1), ("2_2", 128, 2), ("3_1", 128, 1), ("3_2", 256, 2), ("4_1", 256, 1), ("4_2", 512, 1),
        ("5_1", 512, 1), ("5_2", 512, 1), ("5_3", 512, 1), ("5_4", 512, 1), ("5_5", 512, 1),
    ):  # fmt: skip
        dilation = 2 if name == "5_1" else 1
        x = d.conv(f"conv{name}/dw", x, channels, 3, stride=stride, dilation=dilation, group=channels)
        x, channels = d.conv(f"conv{name}/sep", x, out, 1), out
    aligned = d.conv("conv4_3_CPM/al", x, 128, 1, "ELU")
    x = d.conv("conv4_3_CPM/red", aligned, 128, 1, "ELU")
    for depthwise, pointwise in (("dw1", "dw1/1x1"), ("dw2", "dw2/1x1"), ("dw3", "inc")):
        x = d.conv(f"conv4_3_CPM/{depthwise}", x, 128, 3, "ELU", group=128)
        x = d.conv(f"conv4_3_CPM/{pointwise}", x, 128, 1, "ELU")
    trunk = x = d.conv("conv4_4_CPM", d.other("conv4_3_CPM/res", "Eltwise", aligned, x), 128, 3)
    for i in (1, 2, 3):
        x = d.conv(f"conv5_{i}_CPM_L1", x, 128, 3)
    ends = [
        d.conv(f"conv5_5_CPM_{branch}", d.conv(f"conv5_4_CPM_{branch}", x, 512, 1), maps, 1, activation="")
        for branch, maps in (("L1", 38), ("L2", 19))
    ]
    x = d.other("concat_stage2", "Concat", *ends, trunk)
    for i in range(1, 6):
        block = f"Mconv{i}_stage2_L1"
        squeezed = d.conv(f"{block}/sq", x, 128, 1)
        x = d.conv(f"{block}/3x3/2", d.conv(f"{block}/3x3", squeezed, 128, 3), 128, 3, dilation=2)
        x = d.other(f"{block}/5x5/res", "Eltwise", squeezed, x)
    for branch, maps in (("L1", 38), ("L2", 19)):
        d.conv(f"Mconv7_stage2_{branch}", d.conv(f"Mconv6_stage2_{branch}", x, 128, 1), maps, 1, activation="")
    return d


def _photograph(path: Path, size: tuple[int, int]) -> np.ndarray:
    """RGB uint8 of (height, width), stretched to it."""
    return cv2.resize(cv2.imread(str(path))[..., ::-1], size[::-1], interpolation=cv2.INTER_AREA)


def _tensor(photograph: np.ndarray) -> Tensor:
    return torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None].float() / 255


def _assert_maps(found: HMPAF, pafs: np.ndarray, heatmaps: np.ndarray, tolerance: float = 1e-3) -> None:
    """Against the maps of a reference, whose last heatmap is the background."""
    assert np.abs(found.pafs[0].detach().numpy() - pafs).max() < tolerance
    assert np.abs(found.heatmaps[0].detach().numpy() - heatmaps[:-1]).max() < tolerance


# --- files that real networks come in


@pytest.fixture(scope="module")
def lightweight_file(shared_data: Path) -> Path:
    return shared_data / "teacher" / "hpe0001_dequant_fp16.npz"


@pytest.fixture(scope="module")
def graph_file() -> Path:
    try:
        return assets.teacher_file("mobilenet_thin")
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bus() -> Path:
    try:
        return assets.photographs()[0]
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Definition, dict[str, np.ndarray]]:
    """A Caffe model of the true architecture (MPI) with random weights, and a layer of stage 3 that no one needs."""
    definition = openpose_definition(pafs=28, heatmaps=16)
    tensors = definition.random_weights()
    path = tmp_path_factory.mktemp("released") / "pose_iter.caffemodel"
    path.write_bytes(
        _caffemodel(tensors | {"Mconv1_stage3_L1.weight": np.ones((2, 3, 1, 1)), "Mconv1_stage3_L1.bias": np.ones(2)})
    )
    return path, definition, tensors


# --- the contract


def _teachers() -> list[Teacher]:
    with torch.device("meta"):
        return [
            LightweightOpenPose(), MobilenetThin(), SmallTeacher(), SmallTeacher("mpi15", width=32, stride=8),
            *[OpenPose(layout, cut) for layout in ("mpi15", "openpose18") for cut in ("stage1", "trunk")],
        ]  # fmt: skip


@pytest.mark.parametrize("teacher", _teachers(), ids=lambda t: f"{type(t).__name__}-{t.layout.name}-{t.cut}")
@pytest.mark.parametrize("size", [(224, 224), (368, 432)])
def test_shapes(teacher: Teacher, size: tuple[int, int]) -> None:
    v = teacher.encode(torch.empty(2, 3, *size, device="meta"))
    cells = (size[0] // teacher.stride, size[1] // teacher.stride)
    assert v.shape == (2, teacher.v_channels, *cells)
    for maps in (teacher.decode(v), *teacher.stages(v), teacher(torch.empty(2, 3, *size, device="meta"))):
        assert maps.heatmaps.shape == (2, len(teacher.layout), *cells)
        assert maps.pafs.shape == (2, 2 * len(teacher.layout.limbs), *cells)


def test_source_cut_is_28_28_1024() -> None:
    with torch.device("meta"):
        teacher = OpenPose("mpi15", "stage1")
    assert teacher.encode(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1024, 28, 28)
    # eight convolutions in each branch of F
    assert len([name for name in teacher.decoder if name.endswith("L1")]) == 8
    assert len([name for name in teacher.decoder if name.endswith("L2")]) == 8


@pytest.mark.parametrize(
    "make", [LightweightOpenPose, MobilenetThin, SmallTeacher, lambda: OpenPose(cut="trunk"), OpenPose]
)
def test_gradients_pass_a_frozen_teacher(make: type[Teacher]) -> None:
    teacher = make().requires_grad_(False).eval()
    v = torch.rand(1, teacher.v_channels, 4, 4, requires_grad=True)
    sum(map(torch.sum, teacher.decode(v))).backward()
    assert v.grad.isfinite().all() and v.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.parameters())


def test_bad_images() -> None:
    teacher = SmallTeacher(width=8)
    with pytest.raises(ValueError, match="float RGB images"):
        teacher(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="float RGB images"):
        teacher(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="30x32 px: pad the image to a multiple of 4"):
        teacher(torch.zeros(1, 3, 32, 30))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmallTeacher("coco"), "unknown layout 'coco', known are mpose3d"),
        (lambda: SmallTeacher("coco17"), "unknown layout with limbs 'coco17'"),
        (lambda: SmallTeacher(width=7), "even number"),
        (lambda: SmallTeacher(stride=3), "power of two"),
        (lambda: OpenPose("mpose3d"), "'mpi15' and 'openpose18'"),
        (lambda: OpenPose(cut="stage2"), "'stage1' or 'trunk'"),
    ],
)
def test_bad_arguments(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_teachers_come_from_configuration(tmp_path: Path) -> None:
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--teacher", type=Teacher)
    config = tmp_path / "config.yaml"
    config.write_text(
        "teacher:\n"
        "  class_path: mpose3d.networks.teacher.SmallTeacher\n"
        "  init_args: {layout: mpi15, width: 16, stride: 8}\n"
    )
    teacher = parser.instantiate(parser.parse_args([f"--config={config}"])).teacher
    assert isinstance(teacher, SmallTeacher)
    assert (teacher.layout.name, teacher.v_channels, teacher.stride) == ("mpi15", 16, 8)


# --- the released networks equal their reference runtime


@pytest.mark.parametrize("size", [(184, 248), (224, 224)])
def test_mobilenet_thin_equals_opencv(graph_file: Path, bus: Path, size: tuple[int, int]) -> None:
    photograph = _photograph(bus, size)
    net = cv2.dnn.readNetFromTensorflow(str(graph_file))
    net.setInput(photograph.astype(np.float32).transpose(2, 0, 1)[None].copy())
    expected = net.forward("Openpose/concat_stage7")[0]
    found = MobilenetThin(str(graph_file))(_tensor(photograph))
    _assert_maps(found, pafs=expected[19:], heatmaps=expected[:19])
    assert found.heatmaps.max() > 0.5, "no one found on the photograph"


def test_lightweight_equals_its_definition(lightweight_file: Path, shared_data: Path) -> None:
    photograph = _photograph(shared_data / "coco" / "train2017" / "000000113488.jpg", (40, 56))
    tensors = {name: tensor.numpy() for name, tensor in read_weights(lightweight_file).items()}
    blobs = lightweight_definition().numpy_forward(tensors, _lightweight_input(photograph))
    teacher = LightweightOpenPose(str(lightweight_file))
    v = teacher.encode(_tensor(photograph))
    assert np.abs(v[0].detach().numpy() - blobs["conv4_4_CPM/ReLU"]).max() < 1e-3
    coarse, fine = teacher.stages(v)
    _assert_maps(coarse, blobs["conv5_5_CPM_L1"], blobs["conv5_5_CPM_L2"])
    _assert_maps(fine, blobs["Mconv7_stage2_L1"], blobs["Mconv7_stage2_L2"])


def test_lightweight_equals_opencv(lightweight_file: Path, shared_data: Path, tmp_path: Path) -> None:
    photograph = _photograph(shared_data / "coco" / "train2017" / "000000113488.jpg", (224, 224))
    tensors = {name: tensor.numpy() for name, tensor in read_weights(lightweight_file).items()}
    outputs = ["Mconv7_stage2_L1", "Mconv7_stage2_L2"]
    definition = lightweight_definition()
    expected = _opencv_forward(definition, tensors, _lightweight_input(photograph), outputs, tmp_path)
    _assert_maps(LightweightOpenPose(str(lightweight_file))(_tensor(photograph)), *expected)


def _lightweight_input(photograph: np.ndarray) -> np.ndarray:
    return photograph[..., ::-1].transpose(2, 0, 1) / 255 - 0.50195


def test_openpose_equals_its_definition(released) -> None:
    path, definition, tensors = released
    image = np.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    blobs = definition.numpy_forward(tensors, _openpose_input(image))
    coarse, fine = (teacher := OpenPose("mpi15", "trunk", str(path))).stages(teacher.encode(_tensor(image)))
    _assert_maps(coarse, blobs["conv5_5_CPM_L1"], blobs["conv5_5_CPM_L2"])
    _assert_maps(fine, blobs["Mconv7_stage2_L1"], blobs["Mconv7_stage2_L2"])


def test_openpose_equals_opencv(released, tmp_path: Path) -> None:
    path, definition, tensors = released
    image = np.random.default_rng(1).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    outputs = ["Mconv7_stage2_L1", "Mconv7_stage2_L2"]
    expected = _opencv_forward(definition, tensors, _openpose_input(image), outputs, tmp_path)
    _assert_maps(OpenPose("mpi15", "trunk", str(path))(_tensor(image)), *expected)


def _openpose_input(image: np.ndarray) -> np.ndarray:
    return image[..., ::-1].transpose(2, 0, 1) / 256 - 0.5


def test_source_cut_keeps_stage_1_and_warns_of_stage_2(released) -> None:
    path, _, tensors = released
    trunk = OpenPose("mpi15", "trunk", str(path))
    with pytest.warns(UserWarning, match="train F"):
        source = OpenPose("mpi15", "stage1", str(path))
    image = torch.rand(1, 3, 32, 32)
    for ours, theirs in zip(source.stages(source.encode(image))[0], trunk.stages(trunk.encode(image))[0], strict=True):
        torch.testing.assert_close(ours, theirs)
    first = source.decoder["Mconv1_stage2_L1"].weight
    assert np.array_equal(first.detach().numpy(), tensors["Mconv1_stage2_L1.weight"][:, : 28 + 16])


# --- people are found where they are


def test_lightweight_finds_annotated_people(lightweight_file: Path, shared_data: Path) -> None:
    """Shoulders and hips of people over a third of the photograph's height: a peak within a tenth of theirs."""
    content = json.loads((shared_data / "coco/annotations/person_keypoints_train2017_mini.json").read_text())
    teacher = LightweightOpenPose(str(lightweight_file)).eval()
    found = []
    for image in content["images"][:12]:
        scale = 368 / max(image["height"], image["width"])
        height, width = (round(image[side] * scale / 8) * 8 for side in ("height", "width"))
        with torch.no_grad():
            maps = teacher(_tensor(_photograph(shared_data / "coco/train2017" / image["file_name"], (height, width))))
        cells_per_px = np.array([width / image["width"], height / image["height"]]) / teacher.stride
        for person in content["annotations"]:
            tall = person["bbox"][3]
            if person["image_id"] != image["id"] or person["iscrowd"] or tall < image["height"] / 3:
                continue
            keypoints = np.array(person["keypoints"]).reshape(-1, 3)
            for name in ("r_shoulder", "l_shoulder", "r_hip", "l_hip"):
                *point, visibility = keypoints[COCO_17.index(name)]
                if visibility == 2:
                    heatmap = maps.heatmaps[0, COCO_18.index(name)].numpy()
                    column, row = (np.array(point) + 0.5) * cells_per_px - 0.5
                    rows, columns = np.indices(heatmap.shape)
                    near = np.hypot(columns - column, rows - row) < 0.1 * tall * cells_per_px[1] + 1
                    found.append(heatmap[near].max() > 0.1)
    assert len(found) > 30
    assert np.mean(found) > 0.8, np.mean(found)


# --- files


def test_caffe_formats_and_pytorch_names(released, tmp_path: Path) -> None:
    path, _, tensors = released
    tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(("conv1", "Mconv7"))}
    (tmp_path / "legacy.caffemodel").write_bytes(_caffemodel(tensors, legacy=True))
    read = read_weights(tmp_path / "legacy.caffemodel")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert np.array_equal(read[name].numpy(), tensor)

    # the conversions of the released model keep its layer names, some of them behind the name of a block
    released_tensors = read_weights(path)
    torch.save(released_tensors, tmp_path / "plain.pth")
    torch.save({f"model1_1.{name}": tensor for name, tensor in released_tensors.items()}, tmp_path / "blocks.pth")
    expected = OpenPose("mpi15", "trunk", str(path)).state_dict()
    for name in ("plain.pth", "blocks.pth"):
        state = OpenPose("mpi15", "trunk", str(tmp_path / name)).state_dict()
        assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_small_teacher_from_checkpoint_and_safetensors(tmp_path: Path) -> None:
    trained = SmallTeacher(width=8)
    state = {f"teacher.{name}": tensor for name, tensor in trained.state_dict().items()}
    torch.save({"state_dict": state | {"other.weight": torch.ones(1)}, "epoch": 3}, tmp_path / "last.ckpt")
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "teacher.safetensors")
    for name in ("last.ckpt", "teacher.safetensors"):
        loaded = SmallTeacher(width=8, weights=str(tmp_path / name)).state_dict()
        assert all(torch.equal(loaded[key], tensor) for key, tensor in trained.state_dict().items())


def test_bad_files_say_what_and_where(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at .*absent.ckpt"):
        SmallTeacher(weights=str(tmp_path / "absent.ckpt"))
    for suffix in ("ckpt", "pth", "safetensors", "npz", "caffemodel", "pb"):
        for content in (b"", b"\x0amore rubbish than weights", b"\xff" * 64):
            path = tmp_path / f"rubbish.{suffix}"
            path.write_bytes(content)
            with pytest.raises(ValueError, match=rf"rubbish.{suffix} cannot be read as weights") as raised:
                LightweightOpenPose(str(path))
            assert "\n" not in str(raised.value)

    for name, write in {
        "people.json": lambda path: path.write_text("[]"),
        "words.npz": lambda path: np.savez(path, words=np.array(["no", "numbers"])),
        "nameless.caffemodel": lambda path: path.write_bytes(b"\x12\x00"),  # a layer without a name
        "numbered.pth": lambda path: torch.save({0: torch.ones(1)}, path),
    }.items():
        write(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name} cannot be read as weights \(.+\): "):
            LightweightOpenPose(str(tmp_path / name))

    path = tmp_path / "aae.ckpt"
    torch.save({"state_dict": {"psi.weight": torch.ones(1)}}, path)
    with pytest.raises(ValueError, match=r"aae.ckpt .*a checkpoint without a teacher: it is of another stage"):
        SmallTeacher(weights=str(path))
    path = tmp_path / "small.safetensors"
    safetensors.torch.save_file(SmallTeacher(width=8).state_dict(), path)
    with pytest.raises(
        ValueError, match=r"small.safetensors: .* is .*, SmallTeacher needs .*: build it with the arguments"
    ):
        SmallTeacher(width=16, weights=str(path))
    with pytest.raises(ValueError, match=r"small.safetensors has no .* another network than MobilenetThin"):
        MobilenetThin(str(path))
    cut_short = tmp_path / "short.caffemodel"
    cut_short.write_bytes(_caffemodel({"a.weight": np.ones((2, 3, 1, 1)), "a.bias": np.ones(2)})[:-4])
    with pytest.raises(ValueError, match=r"short.caffemodel .*cut short"):
        OpenPose(weights=str(cut_short))


# --- the small teacher


def test_small_teacher_is_small() -> None:
    with torch.device("meta"):
        teacher = SmallTeacher(width=32)
    with FlopCounterMode(display=False) as counter:
        teacher(torch.empty(1, 3, 112, 112, device="meta"))
    assert counter.get_total_flops() / 2 < 120e6


def test_small_teacher_learns(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    layout = LAYOUTS["mpose3d"]
    teacher = SmallTeacher(width=8)
    points = torch.rand(4, 1, len(SKELETON), 2, generator=generator) * 48
    target = draw(points, torch.ones(4, 1, len(SKELETON), dtype=torch.bool), layout, (12, 12), stride=4, sigma=4.0)
    images = torch.rand(4, 3, 48, 48, generator=generator)
    optimiser = torch.optim.AdamW(teacher.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = sum(
            ((a - b) ** 2).mean()
            for maps in teacher.stages(teacher.encode(images))
            for a, b in zip(maps, target, strict=True)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_a_low_peak_is_no_joint_of_a_small_teacher():
    teacher = SmallTeacher("mpose3d", width=8)
    points = torch.rand(1, 1, 15, 2, generator=torch.Generator().manual_seed(0)) * 100 + 10
    heights = torch.full((1, 1, 15), 0.8)
    heights[..., 4] = 0.9 * teacher.peak
    maps = draw(points, torch.ones(1, 1, 15, dtype=torch.bool), teacher.layout, (30, 30), 4, 6.0, heights)
    seen = teacher.people(maps).visible.any(1)[0]
    assert not seen[4] and seen.sum() > 8
    lower = maps._replace(heatmaps=maps.heatmaps * 0.95 * teacher.peak / 0.9)
    assert not teacher.people(lower).visible.any()
