"""Things in pictures and clips, and questions about space: recorded replies, other forms, and what is checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from operators.checks.check_reply import CheckedReply, check_reply
from pipelines.catalogue import bind, find
from pipelines.replies.choices import choice_of, options_in
from schemas.errors import InvalidOutput
from schemas.request import Clip, Picture
from schemas.spec import TaskSpec
from schemas.task import Unit, View
from tests.support.samples import recorded

PAGE = View("image", 0, 2000, 1000)


def checked(task: str, reply: str, view: View) -> CheckedReply:
    shipped = find(task)
    return check_reply(shipped, view, reply, shipped.parse(reply, view), cut=False)


def test_the_recorded_food() -> None:
    checked_reply = checked("recognize", recorded()["food"], View("image", 0, 3008, 4032))
    names = [[(item["language"], item["name"]) for item in thing["names"]] for thing in checked_reply.result["objects"]]
    assert names == [
        [("zh", "米饭"), ("en", "Rice")],
        [("zh", "米饭"), ("en", "Rice")],
        [("zh", "土豆胡萝卜排骨汤"), ("en", "Potato Carrot Pork Rib Soup")],
        [("zh", "橙子片"), ("en", "Orange Slices")],
        [("zh", "手撕包菜"), ("en", "Shredded Cabbage")],
        [("zh", "西红柿炒鸡蛋"), ("en", "Tomato Scrambled Eggs")],
        [("zh", "麻辣血豆腐"), ("en", "Spicy Blood Tofu")],
    ]
    # [266, 126, 695, 343] of 1000
    assert checked_reply.result["objects"][2]["bbox_px"] == pytest.approx([800.128, 508.032, 2090.56, 1382.976])
    assert checked_reply.verified["ok"]
    assert checked_reply.result["answer"] is None


@pytest.mark.parametrize("task", ["ground_2d", "spatial"])
def test_the_recorded_point(task: str) -> None:
    checked_reply = checked(task, recorded()["point_2d"], PAGE)
    (thing,) = checked_reply.result["objects"]
    assert (thing["label"], thing["point_px"], thing["bbox_px"]) == ("point_1", [1850.0, 618.0], None)
    assert checked_reply.verified["ok"]


@pytest.mark.parametrize(
    ("reply", "objects", "faults"),
    [
        ("```json\n[]\n```", [], []),
        ("There are no cars in the image.", [], []),
        ('{"bbox_2d": [100, 200, 300, 400], "label": "car"}', [("car", [200, 200, 600, 400], None)], []),
        ('[{"point_2d": [500, 500], "label": "a"}, }, {"bbox_2d": [0, 0, 1000, 1000]}]',
         [("a", None, [1000, 500]), (None, [0, 0, 2000, 1000], None)], []),
        ('[{"bbox_2d": [100, 200, 100, 400], "label": "car"}]', [("car", [200, 200, 200, 400], None)], ["empty_box"]),
        ('[{"bbox_2d": [100, 200, 1300, 400], "label": "car"}, {"point_2d": [1, 1], "label": "b"}]',
         [("b", None, [2, 1])], ["dropped", "box_outside"]),
        ('[{"bbox_2d": [100, 200, 300], "label": "car"}, {"bbox_2d": [0, 0, 10, 10], "label": "b"}]',
         [("b", [0, 0, 20, 10], None)], ["dropped"]),
        ('Maybe [{"bbox_2d": [1, 1, 2, 2], "label": "b"}]</think>[{"point_2d": [5, 5], "label": "a"}]',
         [("a", None, [10, 5])], []),
        ('Here is the bounding box: [{"bbox_2d": [0, 0, 10, 10], "label": "x"}]', [("x", [0, 0, 20, 10], None)], []),
    ],
)  # fmt: skip
def test_boxes_and_points(reply: str, objects: list[Any], faults: list[str]) -> None:
    checked_reply = checked("ground_2d", reply, PAGE)
    assert checked_reply.failure is None
    listed = [(item["label"], item["bbox_px"], item["point_px"]) for item in checked_reply.result["objects"]]
    assert listed == objects
    assert checked_reply.verified["faults"] == faults


def test_prose_is_no_list_of_boxes() -> None:
    with pytest.raises(InvalidOutput, match="no list of boxes"):
        checked("ground_2d", "A car on a street.", PAGE)


def test_what_else_an_element_says() -> None:
    checked_reply = checked(
        "ground_2d", '[{"bbox_2d": [0, 0, 9, 9], "label": "p", "role": "player", "shirt": 7}]', PAGE
    )
    assert checked_reply.result["objects"][0]["attributes"] == [
        {"name": "role", "value": "player"},
        {"name": "shirt", "value": "7"},
    ]


@pytest.mark.parametrize(
    ("reply", "names", "answer"),
    [
        (
            '{"bbox_2d": [0, 0, 9, 9], "names": {"Chinese": "鸟", "English": "bird"}}',
            [("zh", "鸟"), ("en", "bird")],
            None,
        ),
        ('[{"name_fr": "oiseau", "bbox_2d": [0, 0, 9, 9]}]', [("fr", "oiseau")], None),
        ('[{"english_name": "bird", "cn_name": "鸟"}]', [("en", "bird"), ("zh", "鸟")], None),
        ('[{"label": "bird", "bbox_2d": [0, 0, 9, 9]}]', [(None, "bird")], None),
        ("It is a robin [Erithacus\nrubecula].", [], "It is a robin [Erithacus rubecula]."),
        ("[]", [], None),
    ],
)
def test_names(reply: str, names: list[Any], answer: str | None) -> None:
    checked_reply = checked("recognize", reply, PAGE)
    listed = [(item["language"], item["name"]) for thing in checked_reply.result["objects"] for item in thing["names"]]
    assert (listed, checked_reply.result["answer"]) == (names, answer)
    assert checked_reply.verified["ok"]


FARTHEST = "Which object is farthest?\nAnswer options:\nA.chair\nB.plant\nC.window\nD.tv stand."


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (FARTHEST, {"A": "chair", "B": "plant", "C": "window", "D": "tv stand"}),
        ("Which arrow? Choices: A. Red. B. Blue. C. Green. Please answer with the letter.",
         {"A": "Red", "B": "Blue", "C": "Green"}),
        ("Is it left? (A) yes (B) no", {"A": "yes", "B": "no"}),
        ("Where is vitamin A. kept?", {}),
    ],
)  # fmt: skip
def test_options(question: str, options: dict[str, str]) -> None:
    assert options_in(question) == options


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("C", "C"),
        ("**B.** plant", "B"),
        ("The answer is a plant.", "B"),
        ("tv stand", "D"),
        ("The chair is near.\nAnswer: C", "C"),
        ("So \\boxed{D}", "D"),
        ("I would say option (b).", "B"),
        ("A chair is nearer than the plant.", None),
        ("E", None),
    ],
)
def test_choices(reply: str, choice: str | None) -> None:
    assert choice_of(reply, options_in(FARTHEST)) == choice
    checked_reply = checked("spatial", reply, View("image", 0, 10, 10, parameters={"question": FARTHEST}))
    assert checked_reply.result["choice"] == choice
    assert checked_reply.verified["faults"] == ([] if choice else ["no_choice"])


CLIP = View("clip", 1, 640, 360, start_s=30.0, end_s=34.0, times_s=(30.0, 31.02, 32.04, 33.0))


def test_boxes_in_time() -> None:
    elements = [
        {"time": 30.0, "bbox_2d": [0, 0, 500, 500], "label": "dog"},
        {"time": "31.0 seconds", "bbox_2d": [100, 0, 500, 500], "label": "dog"},
        {"timestamp": "00:31.9", "bbox_2d": [0, 100, 500, 500], "label": "dog"},
        {"time": 33.9, "bbox_2d": [0, 0, 0, 500], "label": "dog"},
        {"time": 3.0, "bbox_2d": [0, 0, 500, 500], "label": "dog"},
        {"bbox_2d": [0, 0, 500, 500], "label": "dog"},
    ]
    checked_reply = checked("ground_video", json.dumps(elements), CLIP)
    boxes = [(item["frame_index"], item["time_s"], item["bbox_px"]) for item in checked_reply.result["boxes"]]
    assert boxes == [
        (0, 30.0, [0, 0, 320, 180]),
        (1, 31.02, [64, 0, 320, 180]),
        (2, 32.04, [0, 36, 320, 180]),
        (3, 33.0, [0, 0, 0, 180]),
    ]
    assert checked_reply.verified["dropped"] == 2
    assert checked_reply.verified["faults"] == ["dropped", "span_outside", "empty_box"]


def test_a_clip_is_asked_frame_by_frame_with_times() -> None:
    frames = tuple(Picture(32, 32, b"") for _ in range(2))
    view = View("clip", 0, 32, 32, times_s=(0.0, 0.96), parameters={"query": "the dog"})
    shipped = find("ground_video")
    request = shipped.next(shipped, Unit(view, Clip(frames, view.times_s)), ())
    assert request is not None
    *shown, asked = request.messages[0].parts
    assert shown == ["<0.0 seconds>", frames[0], "<1.0 seconds>", frames[1]]
    assert asked.startswith('Given the query "the dog", for each frame')
    assert '[{"time": 1.0, "bbox_2d": [x_min, y_min, x_max, y_max], "label": ""}' in asked


def test_a_list_of_phrases_is_one_question() -> None:
    task = bind(
        TaskSpec(name="ground_2d", parameters={"phrases": ["red car", "bus"], "coordinates": ["bbox", "point"]})
    )
    boxes, points = task.requests({})
    assert boxes is not None
    assert points is not None
    assert task.ask_text(View("image", 0, 1, 1, parameters=boxes)) == (
        'Locate every instance that belongs to the following categories: "red car, bus". '
        "Report bbox coordinates in JSON format."
    )
    assert "Report point coordinates" in task.ask_text(View("image", 0, 1, 1, parameters=points))
    one = bind(TaskSpec(name="ground_2d"))
    assert one.requests({"phrases": "bus"}) == [{"phrases": "bus", "coordinates": "bbox"}]
    assert one.requests({"phrases": []}) == [None]
    assert '[{"bbox_3d":[x_center, y_center, z_center' in find("ground_3d").ask_text(
        View("image", 0, 9, 9, parameters={"phrases": "x"})
    )
