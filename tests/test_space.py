"""Boxes in space: recorded replies, projected and checked; geometry by hand and by points; where cameras come from."""

from __future__ import annotations

import json
import math
import shutil
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.load import parse
from operators.checks.boxes_3d import (
    EDGES,
    Box3D,
    corners_m,
    distinct,
    overlap_of_union,
    project,
    rotation,
    up_angle_deg,
)
from operators.checks.check_reply import CheckedReply, check_reply
from operators.checks.intrinsics import find_intrinsics, from_field_of_view
from operators.checks.space_check import is_upright
from pipelines.catalogue import bind, find
from pipelines.job import prepare
from pipelines.local import answer
from schemas.camera import Intrinsics
from schemas.errors import InputError, SpecError
from schemas.spec import TaskSpec
from schemas.task import View
from tests.support.samples import SAMPLES, recorded
from tests.support.world import write_image, write_recording

IMAGES = SAMPLES / "images"
CAMERA = {"fx_px": 800.0, "fy_px": 800.0, "cx_px": 500.0, "cy_px": 300.0, "source": "given"}
ROOM = View("image", 0, 1000, 600, parameters={"phrases": "chair", "intrinsics": CAMERA})


def checked(task: str, reply: str, view: View) -> CheckedReply:
    shipped = find(task)
    return check_reply(shipped, view, reply, shipped.parse(reply, view), cut=False)


def in_space(*boxes: list[float], label: str = "chair") -> str:
    return json.dumps([{"bbox_3d": box, "label": label} for box in boxes])


def rows_of(folder: Path, tasks: Any, inputs: list[Path], *replies: dict[str, Any]) -> list[dict[str, Any]]:
    recording = write_recording(folder / "replies.jsonl", *replies)
    spec = {
        "name": "space", "inputs": [str(path) for path in inputs], "tasks": tasks, "output": str(folder / "unused"),
        "engine": {"kind": "scripted", "recording": str(recording)}, "decode": {"image_max_tokens": 256},
    }  # fmt: skip
    return list(answer(prepare(parse(spec, "test"))))


def test_corners_by_hand() -> None:
    """A quarter turn about x takes (x, y, z) to (x, -z, y), one about y then to (y, -z, -x); half sizes are 2, 1, 3, so
    corner +++ stands at (1, -3, 10 - 2) and is seen at (500 + 800 * 1 / 8, 300 - 800 * 3 / 8)."""
    checked_reply = checked("ground_3d", in_space([0, 0, 10, 4, 2, 6, 0.5, 0.5, 0], label="crate"), ROOM)
    (box,) = checked_reply.result["boxes"]
    assert box["center_m"] == [0, 0, 10]
    assert box["size_m"] == [4, 2, 6]
    assert box["rotation_rad"] == pytest.approx([math.pi / 2, math.pi / 2, 0])
    right, left = 500 + 800 / 12, 500 - 800 / 12
    assert box["corners_px"] == [
        pytest.approx(corner)
        for corner in (
            (600, 0), (600, 600), (400, 0), (400, 600), (right, 100), (right, 500), (left, 100), (left, 500),
        )
    ]  # fmt: skip
    assert box["bbox_px"] == pytest.approx([400, 0, 600, 600])
    assert checked_reply.result["camera"] == CAMERA
    assert checked_reply.verified["ok"]


@pytest.mark.parametrize(
    ("picture", "reply", "labels"),
    [
        ("lounge.jpg", "3d_17", ["桌子", "椅子", "椅子", "沙发"]),
        ("autonomous_driving.jpg", "3d_11", ["car", "car"]),
    ],
)
def test_the_recorded_boxes_lie_on_their_picture_and_agree_on_up(
    tmp_path: Path, picture: str, reply: str, labels: list[str]
) -> None:
    reply_text = recorded()[reply]
    for name in (picture, "cam_infos.json"):
        shutil.copy(IMAGES / name, tmp_path)
    task = {"name": "ground_3d", "parameters": {"phrases": labels}}
    (row,) = rows_of(
        tmp_path, [task], [tmp_path / picture], {"sample": picture, "task": "ground_3d", "reply": reply_text}
    )
    assert row["verified"] == {
        "ok": True, "faults": [], "dropped": 0, "cer": None, "missing_words": None, "extra_words": None,
            "code_check": None,
    }  # fmt: skip
    camera = json.loads((IMAGES / "cam_infos.json").read_text())[picture]
    assert row["result"]["camera"] == {
        **{f"{name}_px": pytest.approx(value) for name, value in camera.items()},
        "source": "sidecar",
    }
    assert json.loads(row["parameters"])["intrinsics"] == row["result"]["camera"]
    boxes = row["result"]["boxes"]
    assert [box["label"] for box in boxes] == labels
    assert row["result"]["duplicates"] == 0
    solid = [Box3D(*(tuple(box[key]) for key in ("label", "center_m", "size_m", "rotation_rad"))) for box in boxes]
    for box, body in zip(boxes, solid, strict=True):
        x0, y0, x1, y1 = box["bbox_px"]
        assert 0 <= x0 < x1 <= row["width_px"]
        assert 0 <= y0 < y1 <= row["height_px"]
        across, down = zip(*box["corners_px"], strict=True)
        # the nearest car and the sofa reach over the edge, and are boxed whole
        assert (x1 - x0) * (y1 - y0) >= 0.5 * (max(across) - min(across)) * (max(down) - min(down))
        assert body.center_m[2] > 0
    for one, other in combinations(solid, 2):
        assert up_angle_deg(one, other) < 2
    # the eighth corner of the first box, worked out with the fact sheet's formula apart from our code
    first_box = json.loads(reply_text.split("```json")[1].split("```")[0])[0]["bbox_3d"]
    assert boxes[0]["corners_px"][7] == pytest.approx(by_formula(first_box, camera), abs=1e-6)


def by_formula(box: list[float], camera: dict[str, float]) -> list[float]:
    """Corner ---, one turn after the other in plain trigonometry."""
    x, y, z = (-side / 2 for side in box[3:6])
    a, b, c = (turn * math.pi for turn in box[6:9])
    y, z = y * math.cos(a) - z * math.sin(a), y * math.sin(a) + z * math.cos(a)
    x, z = x * math.cos(b) + z * math.sin(b), z * math.cos(b) - x * math.sin(b)
    x, y = x * math.cos(c) - y * math.sin(c), x * math.sin(c) + y * math.cos(c)
    x, y, z = x + box[0], y + box[1], z + box[2]
    return [camera["fx"] * x / z + camera["cx"], camera["fy"] * y / z + camera["cy"]]


def test_the_lounge_with_its_angles_read_as_radians_does_not_agree_on_up() -> None:
    boxes = json.loads(recorded()["3d_17"].split("```json")[1].split("```")[0])
    for box in boxes:
        box["bbox_3d"][6:] = [turn / math.pi for turn in box["bbox_3d"][6:]]
    checked_reply = checked("ground_3d", json.dumps(boxes, ensure_ascii=False), ROOM)
    assert "up_disagrees" in checked_reply.verified["faults"]


@pytest.mark.parametrize(
    ("boxes", "label", "faults"),
    [
        ([[0, 0, -3, 1, 1, 1, 0, 0, 0]], "chair", ["behind_camera", "box_outside"]),
        ([[5, 0, 4, 1, 1, 1, 0, 0, 0]], "chair", ["box_outside"]),
        ([[0, 0, 4, 1, 1, 1, 0, 0, 0], [2, 0, 4, 1, 1, 1, 0, 0, 0.1]], "red chair 2", ["up_disagrees"]),
        ([[0, 0, 4, 1, 1, 1, 0, 0, 0], [2, 0, 4, 1, 1, 1, 0, 0.3, 1]], "chairs", []),  # turned round, on its head
        ([[0, 0, 4, 1, 1, 1, 0, 0, 0], [2, 0, 4, 1, 1, 1, 0, 0, 0.5]], "lamp", []),  # it may well lie
        ([[0, 0, 4, 1, 1, 1, 0, 0, 0], [0, 0, 4, 1, 1, 0, 0, 0, 0], [0, 0, 4, 1, 1, 1, 0, 0]], "chair", ["dropped"]),
        ([[0, 0, 4, 1, 1, 1, 0, 0, 0], [0, 0, 4, 1, 1, 1e30, 0, 0, 0]], "chair", ["dropped"]),
    ],
)
def test_faults_in_space(boxes: list[list[float]], label: str, faults: list[str]) -> None:
    checked_reply = checked("ground_3d", in_space(*boxes, label=label), ROOM)
    assert checked_reply.failure is None
    assert checked_reply.verified["faults"] == faults
    assert all((box["corners_px"] is None) == ("behind_camera" in faults) for box in checked_reply.result["boxes"])


CAR = [0.0, 0.8, 12.0, 4.4, 1.6, 1.8, 0.0, 0.3, 0.0]


@pytest.mark.parametrize(
    ("label", "changes"),
    [
        ("car", {0: 0, 1: 8, 2: 120, 3: 44, 4: 16, 5: 18}),  # ten times too far and too large
        ("car", {3: 1.6, 4: 4.4}),  # height and length exchanged
        ("car", {3: 0.01, 4: 0.01, 5: 0.01}),
        ("car", {2: 6000, 3: 5000, 4: 1000, 5: 2000}),
        ("chair", {}),  # the same box under another label
        ("bottle", {}),
        ("pedestrian", {}),
        ("door", {4: 0.1}),
        ("白色的椅子", {}),
    ],
)
def test_things_are_as_large_as_what_they_are_called(label: str, changes: dict[int, float]) -> None:
    box = [changes.get(place, value) for place, value in enumerate(CAR)]
    assert checked("ground_3d", in_space(box, label=label), ROOM).verified["faults"] == ["implausible_size"]


@pytest.mark.parametrize(
    ("turns", "label"),
    [
        ((0.5, 0, 0), "car"),  # on its nose
        ((0, 0, 0.5), "black cars"),  # on its side
        ((0, 45, 0), "car"),  # degrees
        ((0, 90, 0), "chair"),
        ((0, 180, 0), "crate"),
    ],
)
def test_things_stand_as_they_do(turns: tuple[float, float, float], label: str) -> None:
    size = [0.5, 0.8, 0.5] if label == "chair" else CAR[3:6]
    reply = in_space([*CAR[:3], *size, *turns], label=label)
    assert checked("ground_3d", reply, ROOM).verified["faults"] == ["implausible_pose"]


@pytest.mark.parametrize(
    ("boxes", "label"),
    [
        ([[-5.6, 0.8, 8, *CAR[3:]]], "car"),  # its middle is out of the picture
        ([[2, 0.8, 0.5, 1.8, 1.6, 4.4, 0, 0, 0]], "car"),  # beside the camera
        ([[0, 0, 0.9, 1, 1, 2, 0, 0, 0]], "chair"),  # reaches behind the camera
        ([[0, 0, 0.3, 40, 40, 0.2, 0, 0, 0]], "wall"),  # fills the picture and beyond
        ([[0, 0, 4, 0.5, 0.8, 0.5, 0, 0, 0], [2, 0, 4, 0.5, 0.8, 0.5, 0, 0, 0.5]], "chair"),  # one has fallen
        ([CAR, [3, 0.3, 20, *CAR[3:6], 0.08, 0.3, 0]], "car"),  # one is on a ramp
        ([[*CAR[:3], 0.3, 0.1, 0.15, 0, 0, 0]], "toy car"),
        ([[*CAR[:3], 18, 4, 2.6, 0, 0, 0]], "truck"),
    ],
)
def test_what_is_partly_seen_fallen_or_on_a_ramp_is_no_fault(boxes: list[list[float]], label: str) -> None:
    checked_reply = checked("ground_3d", in_space(*boxes, label=label), ROOM)
    assert checked_reply.verified["faults"] == []
    assert len(checked_reply.result["boxes"]) == len(boxes)


def test_two_chairs_that_stand_close_are_two() -> None:
    one, other = [0, 0, 4, 0.5, 0.9, 0.5, 0, 0, 0], [0.27, 0, 4, 0.5, 0.9, 0.5, 0, 0, 0]
    checked_reply = checked("ground_3d", in_space(one, other), ROOM)
    assert len(checked_reply.result["boxes"]) == 2
    assert checked_reply.result["duplicates"] == 0


def test_without_a_camera_there_are_boxes_in_space_but_none_in_the_picture() -> None:
    checked_reply = checked("ground_3d", in_space([0, 0, 4, 1, 1, 1, 0, 0, 0]), View("image", 0, 1000, 600))
    (box,) = checked_reply.result["boxes"]
    assert (box["corners_px"], box["bbox_px"], checked_reply.result["camera"]) == (None, None, None)
    assert checked_reply.verified["faults"] == ["no_camera"]


def test_what_stands() -> None:
    assert all(map(is_upright, ("car", "Black chairs", "sofa_2", "白色的椅子", "汽车")))
    assert not any(map(is_upright, ("car wheel", "bottle", "轮胎", "", None)))


def test_boxes_of_one_thing_are_told_once() -> None:
    there, nudged = [0, 0, 4, 1, 1, 1, 0, 0, 0], [0.2, 0, 4, 1, 1, 1, 0, 0, 0.05]
    checked_reply = checked("ground_3d", in_space(there, nudged, there, [0.9, 0, 4, 1, 1, 1, 0, 0, 0]), ROOM)
    assert [box["center_m"][0] for box in checked_reply.result["boxes"]] == [0, 0.9]
    assert checked_reply.result["duplicates"] == 2
    one, other = (Box3D(label, (0, 0, 4), (1, 1, 1), (0, 0, 0)) for label in ("chair", "cushion"))
    assert distinct([one, other, one]) == [0, 1]


SIDES = st.tuples(*[st.floats(0.2, 3)] * 3)
PLACES = st.tuples(*[st.floats(-1, 1)] * 3)
TURNS = st.tuples(*[st.floats(-4, 4)] * 3)


@settings(max_examples=60, deadline=None)
@given(st.builds(Box3D, st.none(), PLACES, SIDES, TURNS), st.builds(Box3D, st.none(), PLACES, SIDES, TURNS))
def test_overlap_is_the_share_of_points_that_lie_in_both(one: Box3D, other: Box3D) -> None:
    # a point somewhere in each of 25 x 25 x 25 cells: in the middle of them, a whole layer may lie just beside a face
    cells = np.stack(np.meshgrid(*[np.arange(25)] * 3), axis=-1).reshape(-1, 3)
    grid = ((cells + np.random.default_rng(0).random(cells.shape)) / 25 - 0.5) * np.array(one.size_m)
    seen = (grid @ rotation(one).T + np.array(one.center_m) - np.array(other.center_m)) @ rotation(other)
    shared = float((np.abs(seen) <= np.array(other.size_m) / 2).all(axis=1).mean()) * math.prod(one.size_m)
    union = math.prod(one.size_m) + math.prod(other.size_m) - shared
    overlap = overlap_of_union(one, other)
    assert overlap == pytest.approx(shared / union, abs=0.04)
    assert overlap == pytest.approx(overlap_of_union(other, one), abs=1e-6)
    assert overlap_of_union(one, one) == pytest.approx(1)


def test_overlap_by_hand() -> None:
    cube = Box3D(None, (0, 0, 0), (2, 2, 2), (0, 0, 0))
    assert overlap_of_union(cube, Box3D(None, (1, 0, 0), (2, 2, 2), (math.pi / 2, 0, 0))) == pytest.approx(1 / 3)
    assert overlap_of_union(cube, Box3D(None, (2, 0, 0), (2, 2, 2), (0, 0, 0))) == 0
    # a square in a square that is turned by an eighth shares the regular octagon
    octagon = 8 * (math.sqrt(2) - 1)
    turned = overlap_of_union(cube, Box3D(None, (0, 0, 0), (2, 2, 2), (0, math.pi / 4, 0)))
    assert turned == pytest.approx(octagon / (8 - octagon))


# Cameras


@pytest.mark.parametrize(
    "value",
    [
        {"intrinsics": [[800, 0, 500], [0, 700, 300], [0, 0, 1]]},
        {"intrinsics": [800, 0, 500, 0, 700, 300, 0, 0, 1]},
        {"intrinsics": [800.0, 700.0, 500.0, 300.0]},
        {"intrinsics": '{"fx": 800, "fy": 700, "cx": 500, "cy": 300}', "fov_deg": 60},
        {"fx": 800, "fy": 700, "cx": 500, "cy": 300.0},
    ],
)
def test_what_a_table_may_say_of_a_camera(value: dict[str, Any]) -> None:
    assert find_intrinsics(value, None, 1000, 600) == Intrinsics(800, 700, 500, 300, "given")


def test_a_field_of_view() -> None:
    """As the cookbook has it: 60 degrees make half a side over tan 30 pixels."""
    assert from_field_of_view(60, 1600, 900) == Intrinsics(1385.64, 779.42, 800, 450, "field_of_view")
    assert from_field_of_view([90, 60], 1600, 900) == Intrinsics(800, 779.42, 800, 450, "field_of_view")
    assert find_intrinsics({"fov_deg": 90}, "/no/such/picture.jpg", 200, 100) == from_field_of_view(90, 200, 100)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"fx": 800, "fy": 700, "cx": 500, "cy": 300, "date": "today"}'),
        ("a.jpg.json", '{"intrinsics": {"fx": 800, "fy": 700, "cx": 500, "cy": 300}}'),
        ("cam_infos.json", '{"a.jpg": {"K": [[800, 0, 500], [0, 700, 300], [0, 0, 1]]}, "b.jpg": 3}'),
    ],
)
def test_a_file_beside_the_picture(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    camera = Intrinsics(800, 700, 500, 300, "sidecar")
    assert find_intrinsics({"fx": None, "fov_deg": 60}, str(tmp_path / "a.jpg"), 1000, 600) == camera
    assert find_intrinsics({}, str(tmp_path / "c.jpg"), 1000, 600) is None


@pytest.mark.parametrize(
    ("value", "beside", "message"),
    [
        ({"fx": 800}, None, "needs fx, fy, cx and cy"),
        ({"intrinsics": [1, 2, 3]}, None, "needs fx"),
        ({"intrinsics": "{"}, None, "not JSON"),
        ({"intrinsics": [0, 700, 500, 300]}, None, "needs fx"),
        ({"intrinsics": [float("nan"), 700, 500, 300]}, None, "needs fx"),
        ({"fov_deg": 180}, None, "between 0 and 180"),
        ({"fov_deg": "wide"}, None, "between 0 and 180"),
        ({}, '{"fx": "800", "fy": 700, "cx": 500, "cy": 300}', "a.json: needs fx"),
        ({}, '{"fx": 800', "a.json: not readable as JSON"),
        ({}, "[" * 100_000, "a.json: not readable as JSON"),
        ({}, '{"shapes": [], "version": "5.0"}', None),  # it speaks of something else
    ],
)
def test_what_is_no_camera(tmp_path: Path, value: dict[str, Any], beside: str | None, message: str | None) -> None:
    if beside is not None:
        (tmp_path / "a.json").write_text(beside)
    if message is None:
        assert find_intrinsics(value, str(tmp_path / "a.jpg"), 1000, 600) is None
        return
    with pytest.raises(InputError, match=message):
        find_intrinsics(value, str(tmp_path / "a.jpg"), 1000, 600)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["K", "fx", "cx", "a.jpg"]), inner),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(JSON, JSON, st.sampled_from(["a.json", "cam_infos.json"]))
def test_whatever_is_said_of_a_camera_is_one_or_is_refused(given: Any, beside: Any, name: str) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, name).write_text(json.dumps(beside))
        try:
            camera = find_intrinsics({"intrinsics": given, "fov_deg": beside}, f"{folder}/a.jpg", 1000, 600)
        except InputError:
            return
        if camera is not None:
            numbers = camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px
            assert all(map(math.isfinite, numbers))
            assert min(camera.fx_px, camera.fy_px) > 0


def test_a_bad_camera_costs_its_row_and_one_in_the_spec_the_job(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name)
    (tmp_path / "b.json").write_text('{"fx": -1, "fy": 1, "cx": 1, "cy": 1}')
    (tmp_path / "list.csv").write_text("path,fx,fy,cx,cy,shelf\na.png,100,100,160,80,1\nb.png,,,,,2\nc.png,,,,,3\n")
    reply = in_space([0, 0, 2, 1, 1, 1, 0, 0, 0])
    task = {"name": "ground_3d", "parameters": {"phrases": ["chair", "table"], "fov_deg": 90}}
    rows = rows_of(tmp_path, [task], [tmp_path / "list.csv"], {"sample": "*", "task": "ground_3d", "reply": reply})
    assert [row["status"] for row in rows] == ["ok", "unreadable_input", "ok"]
    assert [row["result"] and row["result"]["camera"]["source"] for row in rows] == ["given", None, "field_of_view"]
    assert (rows[1]["error"]["kind"], rows[1]["error"]["stage"], rows[1]["shelf"]) == ("malformed", "infer", "2")
    assert rows[1]["error"]["message"].startswith("b.json: needs fx")
    # nearest face at 1.5 m, half a metre to each side: 100 / 3 px
    assert rows[0]["result"]["boxes"][0]["bbox_px"][0] == pytest.approx(160 - 100 / 3)
    with pytest.raises(SpecError, match="ground_3d: parameters: fov_deg"):
        bind(TaskSpec(name="ground_3d", parameters={"phrases": "x", "fov_deg": 0}))
    with pytest.raises(SpecError, match=r"the prompt has no \{focal\}"):
        bind(TaskSpec(name="ground_3d", parameters={"phrases": "x", "focal": 0}))


@settings(max_examples=100, deadline=None)
@given(TURNS)
def test_a_rotation_keeps_lengths_and_hands(turns: tuple[float, float, float]) -> None:
    turned = rotation(Box3D(None, (0, 0, 0), (1, 1, 1), turns))
    assert turned @ turned.T == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(turned) == pytest.approx(1)
    lengths = [
        np.linalg.norm(np.subtract(*corners_m(Box3D(None, (9, 9, 9), (1, 2, 3), turns))[[a, b]])) for a, b in EDGES
    ]
    assert sorted(map(float, lengths)) == pytest.approx([1] * 4 + [2] * 4 + [3] * 4)


def test_nothing_behind_the_camera_is_projected() -> None:
    camera = Intrinsics(100, 100, 50, 50, "given")
    assert project(np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 2.0]]), camera) == [[50, 50], [100, 100]]
    assert project(np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]), camera) is None
