"""Calls of a GUI's tools in the notations that models write them in. The replies are of our own making."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.replies.gui_actions import read_action
from schemas.errors import InvalidOutput


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


XML = (
    "<tool_call>\n<function=computer_use>\n<parameter=action>\nleft_click\n</parameter>\n<parameter=coordinate>\n"
    "[500, 300]\n</parameter>\n</function>\n</tool_call>"
)


ACTIONS: list[tuple[str, str, dict[str, Any]]] = [
    (call("computer_use", action="left_click", x=500, y=300), "computer_use", {"point_px": [500, 300]}),
    (call("computer_use", action="left_click", coordinate="[500, 300]"), "computer_use", {"point_px": [500, 300]}),
    (
        call("computer_use", action="left_click", coordinate={"x": 500, "y": 300}),
        "computer_use",
        {"point_px": [500, 300]},
    ),
    (call("computer_use", action="left_click", coordinate="(500,300)"), "computer_use", {"point_px": [500, 300]}),
    (call("computer_use", action="key", text="ctrl+c"), "computer_use", {"keys": ["ctrl", "c"], "text": None}),
    (call("mobile_use", action="key", keys=["volume_up"]), "mobile_use", {"text": "volume_up"}),
    (XML, "computer_use", {"action": "left_click", "point_px": [500, 300]}),
    (
        'Thought: go.\nAction: "click it"\n' + XML,
        "computer_use",
        {"point_px": [500, 300], "thought": "go.", "description": "click it"},
    ),
    (
        "<tool_call><function=computer_use><parameter=action>type</parameter><parameter=text>12</parameter></function></tool_call>",
        "computer_use",
        {"text": "12"},
    ),
    (
        (
            "<function=mobile_use><parameter=action>swipe</parameter>"
            "<parameter=coordinate>[1, 2]</parameter><parameter=coordinate2>[3, 4]"
        ),
        "mobile_use",
        {"action": "swipe"},
    ),
    (call("left_click", coordinate=[500, 300]), "computer_use", {"action": "left_click", "point_px": [500, 300]}),
    (call("computer_use", action="click", coordinate=[500, 300]), "computer_use", {"action": "left_click"}),
    (
        (
            '{"type":"function","function":{"name":"computer_use",'
            '"arguments":"{\\"action\\": \\"left_click\\", \\"coordinate\\": [500, 300]}"}}'
        ),
        "computer_use",
        {"action": "left_click", "point_px": [500, 300]},
    ),
    (call("computer_use", action="left_click", coordinate=[0.5, 0.3]), "computer_use", {"point_px": [500, 300]}),
    (
        call("mobile_use", action="swipe", x=0, y=999, x2=999, y2=0),
        "mobile_use",
        {"point_px": [0, 1000], "end_point_px": [1000, 0]},
    ),
    (
        call("mobile_use", action="tap", coordinate=[999, 999]),
        "mobile_use",
        {"action": "click", "point_px": [1000, 1000]},
    ),
    (call("computer_use", action="left_click"), "computer_use", {"point_px": None}),
    (call("computer", action="left_click", coordinate=[500, 300]), "computer_use", {"point_px": [500, 300]}),
    (
        '<tool_call>{"name": "computer_use", "arguments": {"action": "type", "text": "a 5" pipe"}}</tool_call>',
        "computer_use",
        {"action": "type", "text": 'a 5" pipe'},
    ),
    ('{"action": "left_click", "coordinate": [500, 300]}', "computer_use", {"point_px": [500, 300]}),
    (
        '{"name": "computer_use", "action": "left_click", "coordinate": [500, 300]}',
        "computer_use",
        {"point_px": [500, 300]},
    ),
    (
        "Thought: go.\nAction: click(start_box='<|box_start|>(500,300)<|box_end|>')",
        "computer_use",
        {"action": "left_click", "point_px": [500, 300], "thought": "go."},
    ),
    ("```python\npyautogui.click(x=500, y=300)\n```", "computer_use", {"point_px": [500, 300], "thought": None}),
    ("pyautogui.doubleClick(500, 300)", "computer_use", {"action": "double_click", "point_px": [500, 300]}),
    ("pyautogui.hotkey('ctrl', 'shift', 's')", "computer_use", {"action": "key", "keys": ["ctrl", "shift", "s"]}),
    ("hotkey(key='ctrl s')", "computer_use", {"keys": ["ctrl", "s"]}),
    ("type(content='it\\'s (so)\\n')", "computer_use", {"action": "type", "text": "it's (so)\n"}),
    ("drag(start_box='(1,2)', end_box='(3,4)')", "computer_use", {"point_px": [1, 2], "end_point_px": [3, 4]}),
    ('computer_use(action="left_click", coordinate=[500, 300])', "computer_use", {"point_px": [500, 300]}),
    ("finished(content='all of it')", "computer_use", {"action": "terminate", "status": "success"}),
    ("open_app(app_name='Maps')", "mobile_use", {"action": "open", "text": "Maps"}),
]


@pytest.mark.parametrize("reply", ["I will click (500, 300) to go on.", "print('click')", "Type (hello).", "click"])
def test_prose_is_no_action(reply: str) -> None:
    with pytest.raises(InvalidOutput):
        read_action(reply, "computer_use", 1000, 1000)


@pytest.mark.parametrize(("reply", "tool", "wanted"), ACTIONS)
def test_actions(reply: str, tool: str, wanted: dict[str, Any]) -> None:
    parsed = read_action(reply, tool, 1000, 1000)
    assert {key: parsed.value[key] for key in wanted} == {
        key: pytest.approx(value) if key.endswith("_px") and value else value for key, value in wanted.items()
    }
    assert parsed.dropped == 0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.sampled_from(
        (
            '"coordinate": [{0}, {1}]',
            '"x": {0}, "y": {1}',
            '"coordinate": "[{0}, {1}]"',
            '"coordinate": "({0},{1})"',
            '"point": [{0}, {1}]',
            '"coordinate": {{"x": {0}, "y": {1}}}',
            '"position": "{0} {1}"',
        )
    ),
    st.sampled_from(
        (
            "<tool_call>{}</tool_call>",
            "{}",
            "```json\n{}\n```",
            'Thought: so.\nAction: "go"\n<tool_call>\n{}\n</tool_call>',
        )
    ),
)
def test_a_click_has_its_point_in_every_form(x: int, y: int, point: str, around: str) -> None:
    arguments = f'{{"name": "computer_use", "arguments": {{"action": "left_click", {point.format(x, y)}}}}}'
    parsed = read_action(around.replace("{}", arguments), "computer_use", 1000, 1000)
    assert parsed.value["point_px"] == [x, y]
