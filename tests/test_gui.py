"""Screens: what the model says of elements and actions, read into typed rows, and an episode replayed."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from operators.checks.on_screen import boxes_of, point_faults
from operators.infer.unit_request import UnitRequest
from operators.media import episode
from operators.media.sandbox import Sandbox
from pipelines.catalogue import find
from pipelines.loops.screens import NOTHING_DONE, history_text, system_text
from pipelines.replies.gui_actions import BUTTONS, STATUSES, TAKES
from pipelines.replies.tool_calls import read_calls
from schemas.decode import DecodeSettings
from schemas.errors import InputError, InvalidOutput
from schemas.request import Completion, Picture
from schemas.task import Unit, View
from schemas.unit import Locator
from tests.support.samples import recorded
from tests.test_own_tasks import rows_of, spec_of
from tests.test_replies import read

PHONE = View("image", 0, 999, 1998, parameters={"device": "mobile"})
DESK = View("image", 0, 2000, 1000, parameters={"device": "computer"})


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n</tool_call>"


def test_the_recorded_call() -> None:
    """It lands on the search bar of the screen that it was made for, as one sees it there."""
    search_bar, settings_wheel = {"bbox_px": [288, 176, 1016, 320]}, {"bbox_px": [1110, 210, 1194, 290]}
    view = View("image", 0, 1440, 3120, parameters={"device": "mobile", "elements": [search_bar, settings_wheel]})
    parsed = read("gui_action", recorded()["mobile"], view)
    given = {key: value for key, value in parsed.value.items() if value is not None}
    assert given == {
        "tool": "mobile_use",
        "action": "click",
        "point_px": pytest.approx([447 * 1440 / 999, 81 * 3120 / 999]),
        "thought": "To search for Musk in X, I need to click on the search bar at the top of the screen. This will "
        "allow me to type in the search query.",
        "description": "I tapped on the search bar to begin searching for Musk.",
    }
    assert (parsed.dropped, parsed.cut) == (0, False)
    task = find("gui_action")
    assert task.verify(parsed.value, view).faults == ()
    elsewhere = View("image", 0, 1440, 3120, parameters={"elements": [settings_wheel]})
    assert task.verify(parsed.value, elsewhere).faults == ("not_on_element",)


@pytest.mark.parametrize(
    ("view", "reply", "wanted"),
    [
        (DESK, call("computer_use", action="left_click", coordinate=[500, 250]), {"point_px": [1000, 250]}),
        (DESK, call("computer_use", action="left_click"), {"point_px": None}),
        (DESK, call("computer_use", action="key", keys=["ctrl", "c"]), {"keys": ["ctrl", "c"]}),
        (DESK, call("computer_use", action="key", keys="ctrl+shift++"), {"keys": ["ctrl", "shift", "+"]}),
        (DESK, call("computer_use", action="scroll", pixels=-300, coordinate="10, 20"), {"scroll": -300}),
        (DESK, call("computer_use", action="wait", time="2.5", text=7), {"time_s": 2.5, "text": None}),
        (DESK, call("computer_use", action="Terminate ", status="Success"), {"status": "success"}),
        (PHONE, call("mobile_use", action="swipe", coordinate=[0, 999], coordinate2=[999, 0]), {
            "point_px": [0, 1998], "end_point_px": [999, 0]}),
        (PHONE, call("mobile_use", action="click", coordinate=[1000, 1000]), {"point_px": [999, 1998]}),
        (PHONE, call("mobile_use", action="system_button", button="back"), {"button": "Back"}),
        # as damaged as they come
        (PHONE, '```json\n{"name": "mobile_use", "arguments": {"action": "open", "text": "X"}}\n```', {"text": "X"}),
        (PHONE, '{"action": "type", "text": "a } b"}', {"text": "a } b", "tool": "mobile_use"}),
        (PHONE, '<tool_call>{"name": "mobile_use", "arguments": {"action": "open", "text": "X"}', {"text": "X"}),
        (PHONE, '<tool_call>"name": "mobile_use", "arguments": {"action": "open", "text": "X"}}</tool_call>',
            {"text": "X"}),
        (PHONE, '<tool_call>{"name": "mobile_use", "arguments": "{\\"action\\": \\"open\\", \\"text\\": \\"X\\"}"}',
            {"text": "X"}),
        (PHONE, call("mobile_use", action="type", text="</tool_call> { <tool_call>"),
            {"text": "</tool_call> { <tool_call>"}),
        (PHONE, f"{call('mobile_use', action='open', text='Y')}</think>{call('mobile_use', action='open', text='X')}",
            {"text": "X"}),
    ],
)  # fmt: skip
def test_actions_in_many_forms(view: View, reply: str, wanted: dict[str, Any]) -> None:
    parsed = read("gui_action", reply, view)
    assert {key: parsed.value[key] for key in wanted} == wanted
    assert parsed.dropped == 0


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ("I would click on Save.", "holds no action"),
        (call("mobile_use", action="fly"), "has no action 'fly'"),
        (call("mobile_use", action="left_click", coordinate=[1, 2]), "mobile_use has no action 'left_click'"),
        (call("mobile_use", action=["click"]), "has no action"),
        (call("tv_use", action="click", coordinate=[1, 2]), "there is no tool 'tv_use'"),
        (call("image_zoom_in_tool", bbox_2d=[1, 2, 3, 4]), "it calls 'image_zoom_in_tool'"),
        (call("mobile_use", action="click"), "coordinate is missing"),
        (call("mobile_use", action="click", coordinate=[1, 2, 3]), "coordinate is"),
        (call("mobile_use", action="click", coordinate=["left", 2]), "coordinate is"),
        (call("mobile_use", action="click", coordinate=[1e300, 2]), "coordinate is"),
        (call("mobile_use", action="swipe", coordinate=[1, 2]), "coordinate2 is missing"),
        (call("mobile_use", action="type", text=7), "text is 7"),
        (call("mobile_use", action="system_button", button="Power"), "button is 'Power'"),
        (call("mobile_use", action="terminate", status="maybe"), "status is 'maybe'"),
        (call("mobile_use", action="wait", time=-1), "time is -1"),
        (call("computer_use", action="key", keys=[]), "keys is"),
        ('<tool_call>\n{"name": "mobile_use", "arguments": {"action": "type", "text": "hello wor', "holds no action"),
    ],
)
def test_what_is_no_action_says_why(reply: str, sentence: str) -> None:
    with pytest.raises(InvalidOutput, match=sentence):
        read("gui_action", reply, PHONE)


def test_the_first_of_several_actions_is_read_and_the_others_are_counted() -> None:
    several = call("mobile_use", action="open", text="X") + call("mobile_use", action="wait", time=1)
    parsed = read("gui_action", several, PHONE)
    assert (parsed.value["text"], parsed.dropped) == ("X", 1)


WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12).filter(
    lambda text: "<" not in text and text.strip() == text
)
COORDINATE = st.tuples(st.integers(0, 999), st.integers(0, 999)).map(list)
ARGUMENTS: dict[str, st.SearchStrategy[Any]] = {
    "coordinate": COORDINATE,
    "coordinate2": COORDINATE,
    "text": WORDS,
    "keys": st.lists(WORDS, min_size=1, max_size=3),
    "pixels": st.integers(-2000, 2000),
    "time": st.floats(0, 60),
    "button": st.sampled_from(BUTTONS),
    "status": st.sampled_from(STATUSES),
}
FIELDS = {"text": "text", "keys": "keys", "pixels": "scroll", "time": "time_s", "button": "button", "status": "status"}


@st.composite
def actions(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A tool and an action of its vocabulary, with all that it needs."""
    tool = draw(st.sampled_from(list(TAKES)))
    name = draw(st.sampled_from(list(TAKES[tool])))
    takes = TAKES[tool][name]
    chosen = [key for key, needed in takes.items() if needed or draw(st.booleans())]
    return tool, {"action": name, **{key: draw(ARGUMENTS[key]) for key in chosen}}


AROUND = ["{}", 'Thought: so.\nAction: "go"\n{}', "{}\n\n", "```\n{}\n```", "<think>{{</think>{}"]


@settings(max_examples=80, deadline=None)
@given(actions(), st.sampled_from(AROUND))
def test_every_action_of_the_vocabularies_comes_back_typed(action: tuple[str, dict[str, Any]], around: str) -> None:
    tool, arguments = action
    view = DESK if tool == "computer_use" else PHONE
    scale = 1000 if tool == "computer_use" else 999
    value = read("gui_action", around.format(call(tool, **arguments)), view).value
    assert (value["tool"], value["action"]) == (tool, arguments["action"])
    for key, field in (("coordinate", "point_px"), ("coordinate2", "end_point_px")):
        wanted = arguments.get(key)
        sides = (view.width_px, view.height_px)
        assert value[field] == (
            wanted and pytest.approx([item / scale * side for item, side in zip(wanted, sides, strict=True)])
        )
    for key, field in FIELDS.items():
        wanted = arguments.get(key)
        if isinstance(wanted, str):
            wanted = unicodedata.normalize("NFC", wanted)
        assert value[field] == wanted


@settings(max_examples=80, deadline=None)
@given(actions(), st.data())
def test_damage_gives_an_action_of_the_vocabulary_or_a_reason(
    action: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    reply = call(action[0], **action[1])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(reply)))
        garbage = data.draw(st.sampled_from(["", "{", "}", '"', "]", "<tool_call>", "\\", "null", "1e999", "\ud800"]))
        reply = reply[:place] + garbage + reply[place + data.draw(st.integers(0, 2)) :]
    for task, text in (("gui_action", reply), ("gui_episode", f"[screen 1, 9 x 9 px]\n{reply}")):
        try:
            read(task, text.encode("utf-8", "replace").decode(), DESK)  # checked against the schema and Arrow
        except InvalidOutput:
            continue


def test_the_tool_that_is_offered_names_every_action_and_what_it_needs() -> None:
    for tool, vocabulary in TAKES.items():
        (told_tools,) = [line for line in system_text(tool).splitlines() if line.startswith('{"type": "function"')]
        parameters = json.loads(told_tools)["function"]["parameters"]["properties"]
        assert parameters["action"]["enum"] == list(vocabulary)
        needed = {key for takes in vocabulary.values() for key, must in takes.items() if must}
        assert parameters.keys() == {"action", *needed}


ELEMENTS = """```json
[
    {"bbox_2d": [0, 0, 100, 50], "role": "Text field", "text": "Search \\"X\\"", "clickable": true},
    {"bbox_2d": [200, 0, 200, 50], "type": "icon", "text": "", "clickable": "no"},
    {"bbox_2d": [300, 0, 5000, 50], "role": "link", "text": "missing"},
    {"bbox": [900, 900, 1000, 1000], "label": "button"},
]
```"""


def test_elements() -> None:
    parsed = read("gui_elements", ELEMENTS, DESK)
    assert parsed.value["elements"] == [
        {"role": "text_field", "text": 'Search "X"', "bbox_px": [0, 0, 200, 50], "clickable": True},
        {"role": "icon", "text": None, "bbox_px": [400, 0, 400, 50], "clickable": False},
        {"role": "button", "text": None, "bbox_px": [1800, 900, 2000, 1000], "clickable": None},
    ]
    assert parsed.dropped == 1
    task = find("gui_elements")
    assert task.verify(parsed.value, DESK).faults == ("empty_box",)
    seen = View("image", 0, 10, 10, blank=False)
    assert task.verify(read("gui_elements", "[]", seen).value, seen).faults == ("nothing_read",)


def test_a_point_is_held_to_the_screen_and_to_the_elements_that_are_known() -> None:
    boxes = [(0.0, 0.0, 10.0, 10.0)]
    assert point_faults([(5, 10), None], 100, 100, boxes) == ()
    assert point_faults([(11, 5)], 100, 100, boxes) == ("not_on_element",)
    assert point_faults([(11, 5)], 100, 100, []) == ()
    assert point_faults([(5, 5), (5, 101)], 100, 100, boxes) == ("point_outside",)
    elements = [{"bbox_px": [0, 0, 1, 1]}, {"bbox_px": None}, {"bbox_px": ["a"] * 4}, 7]
    assert boxes_of(elements) == boxes_of(json.dumps(elements)) == [(0, 0, 1, 1)]
    assert boxes_of("[") == boxes_of(None) == []
    task = find("gui_action")
    view = View("image", 0, 1000, 1000, parameters={"elements": [{"bbox_px": [0, 0, 100, 100]}]})
    for action, faults in (("left_click", ("not_on_element",)), ("left_click_drag", ())):
        value = read("gui_action", call("computer_use", action=action, coordinate=[500, 500]), view).value
        assert task.verify(value, view).faults == faults
    off = read("gui_action", call("computer_use", action="left_click", coordinate=[1500, 5]), view).value
    assert task.verify(off, view).faults == ("point_outside",)


def test_calls_of_any_tool() -> None:
    calls = read_calls(f"look\n{call('a', x=1)}{call('b', y=2)}<tool_call>{{nonsense</tool_call> so", ("x",))
    assert [(item.name, item.arguments) for item in calls.calls] == [("a", {"x": 1}), ("b", {"y": 2})]
    assert (calls.dropped, calls.text) == (1, "look\n so")


def test_history_as_text_and_as_list() -> None:
    assert history_text(["open X", None, " "]) == "Step 1: open X;"
    assert history_text("Step 1: open X") == "Step 1: open X"
    assert history_text([]) == history_text(None) == history_text(" ") == NOTHING_DONE


def screen(folder: Path, name: str, colour: str, size: tuple[int, int] = (200, 400)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(folder / name)


def test_screens_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "1b.png", "1a.png", ".3.png"):
        screen(tmp_path, name, "red")
    (tmp_path / "notes.txt").write_text("no screen")
    (tmp_path / "4.png").mkdir()
    assert [Path(path).name for path, _ in episode.screens(str(tmp_path))] == ["1a.png", "1b.png", "2.png", "10.png"]
    with pytest.raises(InputError, match="no pictures"):
        episode.screens(str(tmp_path / "4.png"))
    with pytest.raises(InputError, match="no such folder"):
        episode.screens(str(tmp_path / "gone"))


def test_an_episode_is_replayed_screen_by_screen(tmp_path: Path) -> None:
    """One row: a step for every screen, in that screen's own pixels, each asked with what was done before; and its
    screens are pictures that other tasks of the job are asked about."""
    for number, size in enumerate([(200, 400), (200, 400), (400, 200)], start=9):
        screen(tmp_path / "search", f"{number}.png", "white", size)
    screen(tmp_path / "broken", "1.png", "white")
    (tmp_path / "broken" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    (tmp_path / "broken" / "3.png").touch()
    (tmp_path / "empty").mkdir()
    box = {"bbox_px": [0.0, 0.0, 10.0, 10.0]}
    pq.write_table(
        pa.table(
            {
                "path": ["search", "broken", "empty"],
                "instruction": ["Search for Musk", "Go", "Go"],
                "elements": [[[], [box], []], None, None],
            }
        ),
        tmp_path / "episodes.parquet",
    )
    asked = tmp_path / "asked.txt"
    replies = [
        f'Thought: open.\nAction: "I opened X"\n{call("mobile_use", action="open", text="X")}',
        f"[screen 3, 7 x 7 px]\n{call('mobile_use', action='click', coordinate=[999, 999])}",
        call("mobile_use", action="fly"),
    ]
    spec = spec_of(
        tmp_path,
        ["caption", {"name": "gui_episode", "parameters": {"device": "mobile"}}],
        [tmp_path / "episodes.parquet"],
        {"sample": "*", "task": "caption", "reply": "A screen."},
        *(
            {"sample": "*", "task": "gui_episode", "step": step, "reply": reply, "asked_log": str(asked)}
            for step, reply in enumerate(replies)
        ),
    )
    rows = rows_of(spec)
    captions = [row for row in rows if row["task"] == "caption"]
    assert [(Path(row["input_uri"]).name, row["page"], row["status"]) for row in captions] == [
        *(("search", page, "ok") for page in (1, 2, 3)),
        ("broken", 1, "ok"),
        ("broken", 2, "unreadable_input"),
        ("broken", 3, "unreadable_input"),
        ("empty", None, "unreadable_input"),
    ]
    search, broken, empty = [row for row in rows if row["task"] == "gui_episode"]
    assert (search["status"], search["unit_kind"], search["page_count"]) == ("ok", "episode", 3)
    steps = search["result"]["steps"]
    assert [(step["step"], step["width_px"], step["height_px"]) for step in steps] == [
        (1, 200, 400),
        (2, 200, 400),
        (3, 400, 200),
    ]
    assert [step["action"] and step["action"]["action"] for step in steps] == ["open", "click", None]
    assert steps[1]["action"]["point_px"] == [200, 400]
    assert steps[2]["fault"] == "mobile_use has no action 'fly'"
    assert search["verified"]["faults"] == ["dropped", "not_on_element"]
    assert [attempt["text"] for attempt in search["attempts"]] == replies
    assert search["prompt_tokens"] > 0
    assert broken["error"]["message"].startswith("screen 2: 2.png: ")
    assert empty["error"]["kind"] == "no_frames"
    assert len(asked.read_text().splitlines()) == 3  # nothing was asked about episodes that cannot be read
    # read again from the row alone
    view = View("episode", 0, 200, 400, page_count=3, parameters=json.loads(search["parameters"]))
    assert find("gui_episode").parse(search["text"], view).value == search["result"]


def test_what_was_done_is_told_at_the_next_screen() -> None:
    task = find("gui_episode")
    shown = tuple(Picture(64, 64, b"") for _ in range(3))
    content = ("[screen 1, 9 x 9 px]", shown[0], "[screen 2, 9 x 9 px]", shown[1], "[screen 3, 9 x 9 px]", shown[2])
    unit_request = UnitRequest(
        task, Unit(View("episode", 0, 9, 9), content), {"instruction": "Go", "device": "mobile"}, "r", {}
    )
    conversation = unit_request.conversation
    assert conversation is not None
    histories: list[str] = []
    for reply in ('Action: "I opened X"\n' + call("mobile_use", action="open", text="X"), "nonsense", "more"):
        (request,) = conversation.next()
        system, question = request.messages
        assert '"mobile_use"' in system.parts[0]  # type: ignore[operator]
        assert question.parts[0] is shown[len(histories)]
        histories.append(str(question.parts[1]).rpartition("device): ")[2])
        conversation.receive(request, Completion(reply, "stop", 1, 1, 0.1))
    assert conversation.next() == ()
    assert histories == [NOTHING_DONE, "Step 1: I opened X;", "Step 1: I opened X; Step 2: (no action);"]


def test_a_device_that_is_none_is_a_value_that_is_missing() -> None:
    unit = Unit(View("image", 0, 9, 9), Picture(64, 64, b""))
    unit_request = UnitRequest(find("gui_action"), unit, {"instruction": "Go", "device": "tv"}, "r", {})
    assert unit_request.conversation is not None
    assert unit_request.conversation.next() == ()
    columns = unit_request.columns(None)
    assert (columns["status"], columns["error"]["kind"]) == ("unreadable_input", "no_value")
    assert columns["error"]["message"] == "device is 'tv': say computer or mobile"


def test_values_with_defaults() -> None:
    task = find("gui_action")
    row = {"instruction": ["Open it", "Close it"], "history": ["a", "b"], "device": None, "elements": None}
    assert task.requests(row) == [
        {"instruction": text, "device": "computer", "history": ["a", "b"]} for text in ("Open it", "Close it")
    ]
    assert task.requests({"instruction": " "}) == [None]


def test_a_decoder_that_gets_an_episode_of_fewer_screens_than_were_planned_says_so(tmp_path: Path) -> None:
    screen(tmp_path / "e", "1.png", "white")
    sandbox = Sandbox(DecodeSettings())
    try:
        batches = list(sandbox.decode(str(tmp_path / "e"), "episode", [Locator(page=1), Locator(page=2)]))
    finally:
        sandbox.close()
    first, second = (batch.to_pylist()[0] for batch in batches)
    assert (first["width_px"], first["error"]) == (200, None)
    assert second["error"]["kind"] == "not_found"
