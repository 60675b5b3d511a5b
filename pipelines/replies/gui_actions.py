"""One action of the computer or the mobile vocabulary, from a tool call to a typed result in pixels of the screen.

The vocabularies are those of Qwen's cookbooks (docs/facts/qwen3-vl.md §2.8): `computer_use` counts coordinates to 1000,
`mobile_use` to 999. A point off the screen is kept as the model wrote it: the check reports it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from operators.checks.refusals import cannot_say
from pipelines.replies.boxes import numbers
from pipelines.replies.places import places_of
from pipelines.replies.tool_calls import Call, read_calls
from schemas.errors import InvalidOutput
from schemas.output import TEXT_OR_NULL, list_of, nullable
from schemas.task import ParsedReply

_AT = {"coordinate": True}
_SAYS = {"text": True}
TAKES: dict[str, dict[str, dict[str, bool]]] = {
    "computer_use": {
        "key": {"keys": True},
        "type": _SAYS,
        "mouse_move": _AT,
        # without a coordinate these happen where the cursor is
        "left_click": {"coordinate": False},
        "left_click_drag": {"coordinate": True, "coordinate2": False},
        "right_click": {"coordinate": False},
        "middle_click": {"coordinate": False},
        "double_click": {"coordinate": False},
        "triple_click": {"coordinate": False},
        "scroll": {"pixels": True, "coordinate": False},
        "hscroll": {"pixels": True, "coordinate": False},
        "wait": {"time": True},
        "terminate": {"status": True},
        "answer": _SAYS,
    },
    "mobile_use": {
        "key": _SAYS,
        "click": _AT,
        "long_press": {"coordinate": True, "time": False},
        "swipe": {"coordinate": True, "coordinate2": True},
        "type": _SAYS,
        "answer": _SAYS,
        "system_button": {"button": True},
        "open": _SAYS,
        "wait": {"time": True},
        "terminate": {"status": True},
    },
}
"""tool -> action -> its arguments, and whether it cannot do without them. Others are not looked at."""
AIMED = frozenset(
    ("mouse_move", "left_click", "right_click", "middle_click", "double_click", "triple_click", "click", "long_press")
)
"""Actions whose point is meant for an element; others begin or end where there may be none."""
BUTTONS = ("Back", "Home", "Menu", "Enter")
STATUSES = ("success", "failure")
_OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "coordinate": ("coordinates", "point", "position", "start_box", "start_coordinate", "location", "start_point"),
    "coordinate2": ("end_coordinate", "coordinate_2", "end_box", "end_point", "to"),
    "text": ("content", "value", "input_text", "app", "app_name", "answer"),
    "keys": (),
    "pixels": ("scroll_amount", "amount"),
    "time": ("duration", "seconds", "time_s"),
    "button": ("button_name",),
    "status": ("goal_status", "result"),
}
_AXES = {"coordinate": ("x", "y"), "coordinate2": ("x2", "y2")}
_SAME_ACTION: dict[str, dict[str, str]] = {
    "computer_use": {
        "click": "left_click", "leftclick": "left_click", "rightclick": "right_click", "doubleclick": "double_click",
        "left_single": "left_click", "right_single": "right_click", "left_double": "double_click",
        "drag": "left_click_drag", "write": "type", "typewrite": "type", "type_text": "type", "input_text": "type",
        "hotkey": "key", "press": "key", "moveto": "mouse_move",
        "keypress": "key", "move": "mouse_move", "hover": "mouse_move", "finished": "terminate", "done": "terminate",
    },
    "mobile_use": {
        "tap": "click", "longpress": "long_press", "type_text": "type", "input_text": "type", "input": "type",
        "open_app": "open", "drag": "swipe", "done": "terminate", "finished": "terminate",
    },
}  # fmt: skip
_SAME_TOOL = {"computer": "computer_use", "mobile": "mobile_use"}
_HELD = re.compile(r"(?:ctrl|control|alt|shift|cmd|command|win|meta|super)\s+\S+(?:\s+\S+){0,2}$", re.IGNORECASE)
_COUNTS_TO = {"computer_use": 1000, "mobile_use": 999}
_FARTHEST = 1_000_000

_POINT = {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
ACTION: dict[str, Any] = {
    "tool": {"type": "string", "enum": list(TAKES)},
    "action": {"type": "string", "enum": list(dict.fromkeys(name for tool in TAKES.values() for name in tool))},
    "point_px": _POINT,  # x, y in pixels of the original; of a swipe, where it begins
    "end_point_px": _POINT,  # of a swipe; null for a drag that begins where the cursor is and ends at point_px
    "text": TEXT_OR_NULL,  # to type, to answer, of an app to open, of a mobile's key
    "keys": nullable(list_of({"type": "string"})),  # pressed in this order
    "button": TEXT_OR_NULL,
    "scroll": {"type": ["number", "null"]},  # the wheel's pixels, as the model counts them: up and left are positive
    "time_s": {"type": ["number", "null"], "minimum": 0},
    "status": TEXT_OR_NULL,
    "thought": TEXT_OR_NULL,
    "description": TEXT_OR_NULL,  # the action in the model's own words
}
"""Properties of an action in a JSON Schema. What an action does not take is null."""


def read_action(reply: str, device: str, width_px: int, height_px: int) -> ParsedReply:
    """The first action of a reply; others count as dropped. device: a key of TAKES, for calls that name no tool.

    Raises InvalidOutput: no call, an unknown action, an argument that is missing or of another form.
    """
    parsed = read_calls(reply, ("action", "action_type"), {*TAKES, *TAKES[device], *_SAME_ACTION[device]})
    calls = [
        call
        for call in parsed.calls
        if call.name in (*TAKES, *TAKES[device], *_SAME_ACTION[device])
        or not call.arguments.keys().isdisjoint(("action", "action_type"))
    ]
    if not calls and cannot_say(parsed.text):
        raise InvalidOutput("the model declines to act", ("refused",))
    if not calls:
        other = f"; it calls {parsed.calls[0].name!r}" if parsed.calls else ""
        raise InvalidOutput(f"the reply holds no action that can be read{other}")
    value = _action(_usual(calls[0], device), width_px, height_px)
    value |= _words(parsed.text)
    return ParsedReply(value, len(calls) - 1 + parsed.dropped)


def _usual(call: Call, device: str) -> Call:
    """The call with its tool, and its arguments under their usual names.

    Other models and harnesses name an action as if it were the tool, and give a point as x and y. A key of the computer
    may come as text, one of a mobile device as keys.
    """
    arguments = dict(call.arguments)
    tool = _SAME_TOOL.get(call.name or device, call.name or device)
    if "action" not in arguments and isinstance(arguments.get("action_type"), str):
        arguments["action"] = arguments.pop("action_type")
    if tool in (*TAKES[device], *_SAME_ACTION[device]) and "action" not in arguments:
        tool, arguments["action"] = device, tool
    if tool not in TAKES:
        raise InvalidOutput(f"there is no tool {tool!r}")
    called, name = arguments.get("action"), _name(arguments.get("action"), tool)
    arguments["action"] = name
    for key, others in _OTHER_NAMES.items():
        arguments.setdefault(key, next((arguments[other] for other in others if other in arguments), None))
    for key, (x, y) in _AXES.items():
        if arguments[key] is None and {x, y} <= arguments.keys():
            arguments[key] = [arguments[x], arguments[y]]
    if name == "left_click_drag" and arguments["coordinate2"] is not None and "coordinate" not in call.arguments:
        starts = (arguments.get(key) for key in ("start_coordinate", "start_box", "start_point"))
        arguments["coordinate"] = next((start for start in starts if start is not None), None)
    if name == "terminate" and arguments["status"] is None and called in ("finished", "done"):
        arguments["status"] = "success"
    if name == "key" and arguments["keys"] is None:
        arguments["keys"] = next((arguments[key] for key in ("text", "key") if arguments.get(key) is not None), None)
        if isinstance(arguments["keys"], str) and "text1" in arguments:  # hotkey("ctrl", "c")
            more = (arguments.get(f"text{place}") for place in range(1, 6))
            arguments["keys"] = [arguments["keys"], *(key for key in more if key is not None)]
    if name == "key" and arguments["text"] is None:
        keys = arguments["keys"]
        arguments["text"] = "+".join(map(str, keys)) if isinstance(keys, list) and keys else keys
    return Call(tool, arguments)


def _name(action: Any, tool: str) -> Any:
    """An action by its name in the vocabulary of the tool; one of another that can only mean it."""
    if not isinstance(action, str):
        return action
    name = re.sub(r"[\s-]+", "_", action.strip().lower())
    return name if name in TAKES[tool] else _SAME_ACTION[tool].get(name, name)


def _action(call: Call, width_px: int, height_px: int) -> dict[str, Any]:
    tool = call.name
    assert tool is not None
    arguments = call.arguments
    name = arguments.get("action")
    takes = TAKES[tool].get(name) if isinstance(name, str) else None
    if takes is None:
        raise InvalidOutput(f"{tool} has no action {str(name)[:50]!r}")

    def take(key: str, read: Callable[[Any], Any]) -> Any:
        argument = arguments.get(key) if key in takes else None
        if argument is None:
            if takes.get(key):
                raise InvalidOutput(f"{name}: {key} is missing")
            return None
        value = read(argument)
        if value is None:
            raise InvalidOutput(f"{name}: {key} is {repr(argument)[:60]}")
        return value

    scale = _COUNTS_TO[tool]
    points = [_pair(arguments.get(key)) for key in ("coordinate", "coordinate2")]
    if all(0 <= side <= 1 for point in points if point for side in point) and any(
        not side.is_integer() for point in points if point for side in point
    ):
        scale = 1
    elif any(max(point) > scale for point in points if point):
        scale = 1000  # cookbooks and cloud pages disagree on 999 and 1000; beyond both it lies off the screen

    def point(value: Any) -> list[float] | None:
        pair = _pair(value)
        if pair is None or max(map(abs, pair)) > _FARTHEST:
            return None
        return [pair[0] / scale * width_px, pair[1] / scale * height_px]

    return {
        "tool": tool,
        "action": name,
        "point_px": take("coordinate", point),
        "end_point_px": take("coordinate2", point),
        "text": take("text", _text),
        "keys": take("keys", _keys),
        "button": take("button", lambda value: _one_of(value, BUTTONS)),
        "scroll": take("pixels", _number),
        "time_s": take("time", _seconds),
        "status": take("status", lambda value: _one_of(value, STATUSES)),
    }


def _words(text: str) -> dict[str, str | None]:
    """`Thought: …` and `Action: "…"` before the call; a text without such marks is the thought."""
    text = unicodedata.normalize("NFC", text)
    reasoning = re.search(r"Thought\s*:\s*(.*?)(?=\n\s*Action\s*:|\Z)", text, re.DOTALL)
    action = re.search(r"(?:^|\n)\s*Action\s*:\s*(.*)", text)
    rest = text if reasoning is None and action is None else reasoning[1] if reasoning else ""
    return {
        "thought": rest.strip() or None,
        "description": (action[1].strip().strip('"“”').strip() or None) if action else None,
    }


def _pair(value: Any) -> tuple[float, ...] | None:
    """[500, 300], also in a text, in brackets of any kind, or as {"x": 500, "y": 300}."""
    if isinstance(value, str):
        value = re.sub(r"<\|?/?[\w|]{1,20}\|?>", " ", value)
    places = places_of(value, 2)
    return tuple(places[0]) if len(places) == 1 else None


def _text(value: Any) -> str | None:
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else None


def _keys(value: Any) -> list[str] | None:
    """`["ctrl", "c"]`, also `"ctrl+c"` and `"ctrl c"`."""
    if isinstance(value, str):
        between = r"\s+" if _HELD.match(value.strip()) else r"(?<=[^+])\+(?=.)"
        value = [part.strip() for part in re.split(between, value.strip())]
    if not isinstance(value, list) or not value or not all(isinstance(key, str) and key.strip() for key in value):
        return None
    return [key.strip() for key in value]


def _number(value: Any) -> float | None:
    number = numbers([value], 1)
    return number[0] if number and abs(number[0]) <= _FARTHEST else None


def _seconds(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _one_of(value: Any, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if isinstance(value, str) and value.strip().lower() == name.lower()), None)
