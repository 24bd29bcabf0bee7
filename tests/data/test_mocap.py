"""Motion capture of every format gives the same body; malformed files give one clear error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mpose3d.data.bvh import read_bvh
from mpose3d.data.mocap import read_motion_capture, split_clips
from mpose3d.geometry.kinematics import canonicalize
from mpose3d.skeleton import MUPOTS_17, SKELETON, find_layout
from tests.data.official_layouts import JOINTS_15, STANDING, standing, write_bvh, write_mocap, write_smpl_model

_BVH_LIMBS = [side + part for side in ("Left", "Right") for part in ("UpLeg", "Leg", "Foot", "Arm", "ForeArm", "Hand")]
_BVH_NAMES = ("Hips", "Spine", "Head", *_BVH_LIMBS)
_ROKOKO = {"UpLeg": "Thigh", "Leg": "Shin"}
_SHORTS = {"shoulder": "SHO", "elbow": "ELB", "wrist": "WRI", "knee": "KNE", "ankle": "ANK"}


def leg_length(poses: torch.Tensor) -> float:
    hip, knee, ankle = (poses[0, SKELETON.index(f"l_{joint}")] for joint in ("hip", "knee", "ankle"))
    return float((hip - knee).norm() + (knee - ankle).norm())


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"Hips": "mixamorig:Hips", "LeftUpLeg": "mixamorig:LeftUpLeg", "Head": "mixamorig:Head"},
        {
            f"{side}{part}": f"Bip01 {side[0]} {biped}"
            for side in ("Left", "Right")
            for part, biped in {"UpLeg": "Thigh", "Leg": "Calf", "Arm": "UpperArm", "ForeArm": "Forearm"}.items()
        }
        | {f"{side}{end}": f"Bip01 {side[0]} {end}" for side in ("Left", "Right") for end in ("Foot", "Hand")},
        {
            f"{side}{part}": f"{rigify}.{side[0]}"
            for side in ("Left", "Right")
            for part, rigify in {
                "UpLeg": "thigh",
                "Leg": "shin",
                "Foot": "foot",
                "Arm": "upper_arm",
                "ForeArm": "forearm",
                "Hand": "hand",
            }.items()
        }
        | {"Head": "spine.006"},
        {f"{side}{part}": f"{side}{rokoko}" for side in ("Left", "Right") for part, rokoko in _ROKOKO.items()},
        {name: f"Character1_{name}" for name in _BVH_NAMES},
        {name: f"{name}.001" for name in _BVH_NAMES},
    ],
    ids=["motionbuilder", "mixamo", "biped", "rigify", "rokoko", "all with a prefix", "all with a number"],
)
def test_bvh_gives_the_standing_body(tmp_path: Path, names: dict[str, str]) -> None:
    poses = read_motion_capture(write_bvh(tmp_path / "a.bvh", frames=3, names=names))["a"]
    assert poses.shape == (3, 15, 3) and poses.dtype == torch.float32
    # the unit is not stated: legs come out as long as the skeleton's
    expected = torch.tensor(standing(1), dtype=torch.float32)
    wanted = sum(SKELETON.bone_lengths[j] for j in SKELETON.indices("l_knee", "l_ankle"))
    expected = expected * (wanted / leg_length(expected))
    root = SKELETON.root
    torch.testing.assert_close(poses[0] - poses[0, root], expected[0] - expected[0, root], atol=1e-2, rtol=0)
    # the turn about the vertical, 10 degrees a frame, is rigid
    canonical = canonicalize(poses)[0]
    torch.testing.assert_close(canonical[2], canonical[0], atol=1e-2, rtol=0)
    turned = poses[2, SKELETON.index("l_hip")] - poses[2, root]
    assert torch.atan2(-turned[2], turned[0]).rad2deg().item() == pytest.approx(20, abs=0.01)


def test_an_end_site_that_nobody_measured_goes_on_as_its_joint_came(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "a.bvh", frames=3)
    end = re.search(r"JOINT Head\n.*?End Site\n{\nOFFSET ([^\n]+)", path.read_text(), re.DOTALL)[1]
    path.write_text(path.read_text().replace(f"OFFSET {end}", "OFFSET 0 0 0"))
    at = read_bvh(path)
    np.testing.assert_allclose(at["Head_end"] - at["Head"], at["Head"] - at["Spine"], atol=1e-9)
    assert (np.linalg.norm(at["Head_end"] - at["Head"], axis=-1) > 10).all()


def test_the_top_of_a_head_with_eyes_goes_on_as_the_head_came(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "a.bvh", frames=3)
    text = path.read_text()
    end = re.search(r"JOINT Head\n.*?(End Site\n{\nOFFSET [^\n]+\n})", text, re.DOTALL)[1]
    eye = "JOINT LeftEye\n{\nOFFSET 3 3 6\nCHANNELS 0\nEnd Site\n{\nOFFSET 0 0 1\n}\n}"
    path.write_text(text.replace(end, eye))
    at = read_bvh(path)
    np.testing.assert_allclose(at["Head_beyond"] - at["Head"], at["Head"] - at["Spine"], atol=1e-9)
    head = read_motion_capture(path)["a"][:, SKELETON.index("head_top")].numpy()
    assert np.corrcoef(head.ravel(), at["Head_beyond"].ravel())[0, 1] > 1 - 1e-9  # but for the unit


def test_npz_of_mupots_joints(tmp_path: Path) -> None:
    points = torch.tensor(standing(4))
    arrays = torch.zeros(4, len(MUPOTS_17), 3)
    arrays[:, :15] = points
    np.savez(tmp_path / "clips.npz", wave=arrays.numpy(), again=arrays.numpy()[:2])
    clips = read_motion_capture(tmp_path / "clips.npz")
    assert {name: len(poses) for name, poses in clips.items()} == {"again": 2, "wave": 4}
    torch.testing.assert_close(clips["wave"], points.float())


def test_two_npz_files_with_clips_of_one_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", walk=standing(2), jump=standing(2))
    np.savez(tmp_path / "b.npz", walk=standing(1))
    clips = read_motion_capture(tmp_path, layout="mpose3d")
    assert {name: len(poses) for name, poses in clips.items()} == {"jump": 2, "walk": 2, "b/walk": 1}


def test_npz_of_another_layout(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", joints=standing(2), fps=30)
    torch.testing.assert_close(
        read_motion_capture(tmp_path, layout="mpose3d")["a"], torch.tensor(standing(2), dtype=torch.float32)
    )
    with pytest.raises(ValueError, match=r"a\.npz.*\(2, 15, 3\), expected \(T, 17, 3\)"):
        read_motion_capture(tmp_path)


def test_npz_of_poses(tmp_path: Path) -> None:
    """The files of `mpose3d prior`, whatever the layout of plain arrays; beside them an array may stand."""
    for extra in ({}, {"fps": 30}):
        np.savez(tmp_path / "a.npz", poses=standing(2), **extra)
        for layout in ("mupots", "mpose3d"):
            poses = read_motion_capture(tmp_path / "a.npz", layout)
            assert list(poses) == ["a"]
            torch.testing.assert_close(poses["a"], torch.tensor(standing(2), dtype=torch.float32))
    # a clip of that name in another layout is a clip
    np.savez(tmp_path / "b.npz", poses=np.concatenate([standing(2), np.zeros((2, 2, 3))], axis=1))
    assert list(read_motion_capture(tmp_path / "b.npz")) == ["poses"]


def test_c3d_markers(tmp_path: Path) -> None:
    c3d = pytest.importorskip("c3d")
    body = {name: STANDING[name] for name in JOINTS_15}
    shorts = _SHORTS | {"hip": "HJC"}
    markers = {f"Actor:{n[0].upper()}{shorts[n[2:]]}": body[n] for n in body if n[2:] in shorts}
    markers |= {f"Actor:{name}": body["head_top"] for name in ("LFHD", "RFHD", "LBHD", "RBHD")}
    path = tmp_path / "trial.c3d"
    write_c3d(c3d, path, markers, hidden=(2, "Actor:LKNE"))
    poses = read_motion_capture(path)["trial"]
    assert len(poses) == 3  # of four frames one lacks a marker
    torch.testing.assert_close(poses[0], torch.tensor(standing(1)[0], dtype=torch.float32), atol=0.2, rtol=0)


def test_c3d_hips_from_pelvis_markers(tmp_path: Path) -> None:
    c3d = pytest.importorskip("c3d")
    body = {name: STANDING[name] for name in JOINTS_15}
    markers = {f"{n[0].upper()}{_SHORTS[n[2:]]}": body[n] for n in body if n[2:] in _SHORTS}
    markers |= {name: body["head_top"] for name in ("LFHD", "RFHD", "LBHD", "RBHD")}
    # width 240, depth 160: x to the left, y up, z forward
    markers |= {"LASI": (120, 1000, 80), "RASI": (-120, 1000, 80), "LPSI": (50, 1000, -80), "RPSI": (-50, 1000, -80)}
    write_c3d(c3d, tmp_path / "a.c3d", markers)
    poses = read_motion_capture(tmp_path / "a.c3d")["a"]
    hip = poses[0, SKELETON.index("l_hip")].tolist()
    assert hip == pytest.approx([0.33 * 240 + 7.3, 1000 - (0.30 * 240 + 10.9), 80 - (0.24 * 160 + 9.9)], abs=0.2)


def test_c3d_of_other_programs(tmp_path: Path) -> None:
    """More labels than points, a unit that ends in a NUL, zeros in place of hidden markers, an end that is missing."""
    c3d = pytest.importorskip("c3d")
    body = {name: STANDING[name] for name in JOINTS_15}
    shorts = _SHORTS | {"hip": "HJC"}
    markers = {f"{n[0].upper()}{shorts[n[2:]]}": body[n] for n in body if n[2:] in shorts}
    markers |= {name: body["head_top"] for name in ("LFHD", "RFHD", "LBHD", "RBHD")}
    path = tmp_path / "a.c3d"
    write_c3d(c3d, path, markers)
    expected = read_motion_capture(path)["a"]
    write_c3d(c3d, path, markers, unit="mm\0", more_labels=["BALL"])
    assert torch.equal(read_motion_capture(path)["a"], expected)
    write_c3d(c3d, path, markers | {"LKNE": (0, 0, 0)})
    with pytest.raises(ValueError, match=r"a\.c3d \(a\): no frame with every joint"):
        read_motion_capture(path)
    for prefix in ("Bert:", "Bert_"):
        write_c3d(c3d, path, markers | {f"{prefix}LKNE": (1, 1, 1), f"{prefix}BALL": (2, 2, 2)})
        with pytest.raises(ValueError, match=rf"a\.c3d: markers of several subjects \(LKNE, {prefix}LKNE\)"):
            read_motion_capture(path)
    write_c3d(c3d, path, markers | {"Ball:B1": (1, 1, 1)})
    assert torch.equal(read_motion_capture(path)["a"], expected)  # a thing is nobody
    write_c3d(c3d, path, markers, frames=40)
    path.write_bytes(path.read_bytes()[:-2048])
    with pytest.raises(
        ValueError, match=r"a\.c3d: not a readable C3D file \(40 frames announced, \d+ found: truncated"
    ):
        read_motion_capture(path)


def test_c3d_without_needed_markers(tmp_path: Path) -> None:
    c3d = pytest.importorskip("c3d")
    write_c3d(c3d, tmp_path / "a.c3d", {"LKNE": (0, 0, 0), "BALL": (1, 1, 1)})
    with pytest.raises(ValueError, match=r"a\.c3d: no markers for r_shoulder .*the file has BALL, LKNE"):
        read_motion_capture(tmp_path / "a.c3d")


def write_c3d(
    c3d,
    path: Path,
    markers: dict,
    hidden: tuple[int, str] | None = None,
    unit: str = "mm",
    more_labels: Sequence[str] = (),
    frames: int = 4,
) -> None:
    writer = c3d.Writer(point_rate=100.0, point_scale=-1.0)
    labels = list(markers)
    writer.set_point_labels([*labels, *more_labels])
    writer.point_group.add_str("UNITS", "unit", unit, len(unit))
    for frame in range(frames):
        points = np.zeros((len(labels), 5), dtype=np.float32)
        points[:, :3] = [markers[label] for label in labels]
        if hidden is not None and frame == hidden[0]:
            points[labels.index(hidden[1]), 3:] = -1
        writer.add_frames([(points, np.zeros((0, 0)))])
    with open(path, "wb") as handle:
        writer.write(handle)


@pytest.mark.parametrize("gender", ["male", b"male"])
def test_amass_through_smpl(tmp_path: Path, gender: str | bytes) -> None:
    pytest.importorskip("smplx")
    write_smpl_model(tmp_path / "models" / "smpl" / "SMPL_MALE.pkl")
    still = {"poses": np.zeros((2, 156)), "betas": np.zeros(16), "trans": np.ones((2, 3))}
    np.savez(tmp_path / "trial_poses.npz", **still, gender=gender)
    poses = read_motion_capture(tmp_path / "trial_poses.npz", body_models=tmp_path / "models")["trial_poses"]
    expected = torch.tensor(standing(2), dtype=torch.float32)
    expected[1] = expected[0]
    torch.testing.assert_close(poses, expected + 1000, atol=0.1, rtol=0)


def test_amass_without_model_files_says_what_to_get(tmp_path: Path) -> None:
    pytest.importorskip("smplx")
    np.savez(tmp_path / "a.npz", poses=np.zeros((2, 156)), betas=np.zeros(16), trans=np.zeros((2, 3)), gender="male")
    with pytest.raises(FileNotFoundError, match=r"SMPL_MALE\.pkl.*smpl\.is\.tue\.mpg\.de"):
        read_motion_capture(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match=r"SMPL_MALE\.pkl: no such SMPL model"):
        read_motion_capture(tmp_path / "a.npz", body_models=tmp_path)


def test_folder_names_clips_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "c3d" / "old.c3d").mkdir(parents=True)  # a folder is no recording, whatever its name
    assert list(read_motion_capture(write_mocap(tmp_path))) == ["jumps/jump", "walks/walk_1", "walks/walk_2"]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.bvh", b"nothing", ValueError, r"not a readable BVH file \(HIERARCHY"),
        ("a.bvh", b"HIERARCHY ROOT Hips { MOTION Frames: 1 Frame Time: 1 0", ValueError, "not a readable BVH file"),
        ("a.npz", b"PK\x03\x04 broken", ValueError, "not a readable npz"),
        ("a.amc", b"1\nroot 0 0 0 0 0 0", FileNotFoundError, "its skeleton a.asf is not beside it"),
        ("my_actor_01.amc", b"1", FileNotFoundError, "its skeleton my_actor.asf is not beside it"),
        ("a.c3d", b"\x02\x50 broken", ValueError, "not a readable C3D"),
        ("a.txt", b"", ValueError, "not motion capture"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: bytes, error: type[Exception], message: str) -> None:
    if name.endswith(".c3d"):
        pytest.importorskip("c3d")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message) as raised:
        read_motion_capture(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value) and "\n" not in str(raised.value)


def test_truncated_bvh(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "a.bvh")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"a\.bvh: not a readable BVH file \(3 frames of .* truncated"):
        read_motion_capture(path)


def test_bvh_of_two_people_and_of_other_channels(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "a.bvh")
    text, poses = path.read_text(), read_motion_capture(path)["a"]
    path.write_text("\ufeff" + text.replace("Zrotation", "ZROTATION").replace("Xposition", "xposition"))
    torch.testing.assert_close(read_motion_capture(path)["a"], poses)
    for old, new, message in (
        ("JOINT LeftLeg", "JOINT RightLeg", "two joints called 'RightLeg'"),
        ("Zrotation", "Wrotation", "channels .*wrotation.* of 'Hips'"),
        ("Zrotation Xrotation", "Xrotation Xrotation", "Expected consecutive axes"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=rf"a\.bvh: not a readable BVH file \({message}"):
            read_motion_capture(path)
    path.write_text(text.replace("JOINT Spine", "JOINT Bert:LeftHand"))
    with pytest.raises(ValueError, match=r"a\.bvh: l_wrist is Bert:LeftHand or LeftHand: give each person a file"):
        read_motion_capture(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("angle deg", "angle rad", "angles in rad, only deg is read"),
        ("order TX TY TZ RX RY RZ", "order TX TY TZ RZ RY RX", "root order TX TY TZ RZ RY RX, only TX TY TZ RX RY RZ"),
        ("     length 7.59371", "", r"02\.asf: not an Acclaim skeleton \(no length of 'lfemur'\)"),
        ("    lhipjoint lfemur", "    lhipjoint lthigh", r"02\.asf: not an Acclaim .* \(no bone data of 'lthigh'\)"),
        ("length 0.45", "length 0", r"02\.asf: not an Acclaim skeleton \(float division by zero\)"),
        ("root lhipjoint", "lfoot lhipjoint", r"'lhipjoint' hangs on 'lfoot', which comes after it or not at all"),
    ],
)
def test_acclaim_skeletons_of_other_angles_and_in_pieces_are_refused(
    shared_data: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    samples = shared_data / "mocap" / "raw_samples"
    (tmp_path / "02.asf").write_text((samples / "02.asf").read_text().replace(old, new))
    (tmp_path / "02_01.amc").write_text((samples / "02_01.amc").read_text())
    with pytest.raises(ValueError, match=message):
        read_motion_capture(tmp_path / "02_01.amc")


def test_acclaim_motion_of_angles_that_are_none_is_named(shared_data: Path, tmp_path: Path) -> None:
    samples = shared_data / "mocap" / "raw_samples"
    (tmp_path / "02.asf").write_text((samples / "02.asf").read_text())
    motion = (samples / "02_01.amc").read_text()
    (tmp_path / "02_01.amc").write_text(re.sub(r"(?m)^lfemur .*", "lfemur nan nan nan", motion, count=1))
    with pytest.raises(ValueError, match=r"02_01\.amc: not a motion of its skeleton, truncated\?"):
        read_motion_capture(tmp_path / "02_01.amc")


def test_bvh_of_unknown_joints(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "a.bvh", names={"LeftLeg": "gauche"})
    with pytest.raises(ValueError, match=r"a\.bvh: no known joint names among Hips, .*gauche"):
        read_motion_capture(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda p: p / 1000, "are the positions in mm"), (lambda p: p * np.nan, "NaN"), (lambda p: p[:0], "no frame")],
)
def test_wrong_numbers(tmp_path: Path, change, message: str) -> None:
    np.savez(tmp_path / "a.npz", joints=change(standing(2)))
    with pytest.raises(ValueError, match=message):
        read_motion_capture(tmp_path / "a.npz", layout="mpose3d")


def _with_knees_forward(poses: np.ndarray, by: float = 80.0) -> np.ndarray:
    hip, knee = (SKELETON.indices(f"r_{joint}", f"l_{joint}") for joint in ("hip", "knee"))
    up = poses[:, SKELETON.index("neck")] - poses[:, SKELETON.root]
    forward = np.cross(up, poses[:, hip[0]] - poses[:, hip[1]])
    poses = poses.copy()
    poses[:, knee] += by * (forward / np.linalg.norm(forward, axis=-1, keepdims=True))[:, None]
    return poses


def test_motion_in_a_mirror_is_refused(tmp_path: Path) -> None:
    poses = _with_knees_forward(standing(2))
    np.savez(tmp_path / "a.npz", joints=poses)
    read_motion_capture(tmp_path / "a.npz", layout="mpose3d")
    for wrong in (poses * (1, 1, -1), poses[:, list(SKELETON.mirror)]):
        np.savez(tmp_path / "a.npz", joints=wrong)
        with pytest.raises(
            ValueError, match=r"a\.npz \(a\): knees that bend the wrong way: left and right are exchanged"
        ):
            read_motion_capture(tmp_path / "a.npz", layout="mpose3d")


def test_joints_of_another_layout_of_as_many_are_refused(tmp_path: Path) -> None:
    poses, _ = find_layout("h36m17").from_skeleton(torch.tensor(standing(2)))
    np.savez(tmp_path / "a.npz", joints=poses.numpy())
    read_motion_capture(tmp_path / "a.npz", layout="h36m17")
    with pytest.raises(
        ValueError, match=r"a\.npz: 'joints' has the pelvis \d+ mm from the middle of the hips: its joints"
    ):
        read_motion_capture(tmp_path / "a.npz")


def test_shapes_of_bodies_are_no_motion(tmp_path: Path) -> None:
    np.savez(tmp_path / "shape.npz", betas=np.zeros(16), gender="male")
    with pytest.raises(ValueError, match="shapes of bodies and no motion"):
        read_motion_capture(tmp_path)
    np.savez(tmp_path / "a.npz", poses=standing(2))
    assert list(read_motion_capture(tmp_path)) == ["a"]


def test_two_formats_of_one_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", joints=standing(2))
    write_bvh(tmp_path / "a.bvh")
    assert set(read_motion_capture(tmp_path, layout="mpose3d")) == {"a", "a.npz"}


def test_an_npz_of_another_byte_order_and_one_of_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "native.npz", joints=standing(2))
    np.savez(tmp_path / "other.npz", joints=standing(2).astype(">f8"))
    native, other = (read_motion_capture(tmp_path / f"{n}.npz", layout="mpose3d")[n] for n in ("native", "other"))
    torch.testing.assert_close(other, native, rtol=0, atol=0)
    np.savez(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match=r"nothing\.npz: an npz without arrays"):
        read_motion_capture(tmp_path / "nothing.npz")


def test_code_in_an_npz_is_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", joints=np.array([print], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npz: not a readable npz"):
        read_motion_capture(tmp_path / "a.npz")


def test_empty_folder_and_missing_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no motion capture"):
        read_motion_capture(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such"):
        read_motion_capture(tmp_path / "absent")


def test_split_keeps_recordings_together() -> None:
    clips = {f"{action}_{i}": torch.zeros(10 + i, 15, 3) for action in ("walk", "run", "jump", "sit") for i in range(3)}
    clips |= {f"S1/{i}": torch.zeros(20, 15, 3) for i in range(2)}
    train, held = split_clips(clips, held_out=0.3, seed=1)
    assert train.keys() | held.keys() == clips.keys() and not train.keys() & held.keys()

    def recordings(names):
        return {name.split("/")[0].split("_")[0] for name in names}

    assert not recordings(train) & recordings(held)
    fraction = sum(map(len, held.values())) / sum(map(len, clips.values()))
    assert 0.15 < fraction < 0.45
    assert split_clips(clips, 0.3, seed=1)[1].keys() == held.keys()
    assert split_clips(clips, 0.0) == (clips, {})


def test_split_refuses_what_it_cannot_do() -> None:
    one = {"walk_1": torch.zeros(3, 15, 3), "walk_2": torch.zeros(3, 15, 3)}
    with pytest.raises(ValueError, match="all 2 belong to one recording"):
        split_clips(one, 0.5)
    with pytest.raises(ValueError, match="fraction"):
        split_clips(one, 1.0)


def test_real_recordings(shared_data: Path) -> None:
    clips = read_motion_capture(shared_data / "mocap" / "clips_mpi17_mm.npz")
    raw = read_motion_capture(shared_data / "mocap" / "raw_samples")
    assert len(clips) == 100 and sum(map(len, clips.values())) == 16_842
    for name, poses in raw.items():
        canonical = canonicalize(poses)[0]
        hip, knee, ankle = (canonical[:, SKELETON.index(f"r_{joint}"), 0] for joint in ("hip", "knee", "ankle"))
        # knees bend forward: left and right are not exchanged, nothing is mirrored
        assert (knee - (hip + ankle) / 2).mean() > 0, name
    # the same recording by an independent reader, every sixth frame, about its pelvis
    root = SKELETON.root
    reference = clips["cmu_02_01"] - clips["cmu_02_01"][:, root, None]
    ours = raw["02_01"][::6][: len(reference)]
    torch.testing.assert_close(ours - ours[:, root, None], reference, atol=0.5, rtol=0)
