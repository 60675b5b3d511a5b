"""How a screen is asked about: the tool of its device in the system message, the screen, the task and what was done.

The wording is that of Qwen's agent cookbooks (docs/facts/qwen3-vl.md §2.8). Knows nothing of how an answer is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipelines.replies.gui_actions import BUTTONS, STATUSES, TAKES
from pipelines.replies.tool_calls import signature, tools_text
from schemas.errors import InputError
from schemas.request import Message, Picture, Request
from schemas.task import Task, View

PROMPT = (
    "The user query: {instruction}\n"
    "Task progress (You have done the following operation on the current device): {history}"
)
DEVICES = {"computer": "computer_use", "mobile": "mobile_use"}
NOTHING_DONE = "nothing yet"

_ABOUT = {
    "computer_use": (
        "Use a mouse and keyboard to interact with a computer, and take screenshots.\n"
        "* This is an interface to a desktop GUI. You must click on desktop icons to start applications.\n"
        "* Some applications may take time to start or process actions, so you may need to wait and take successive "
        "screenshots to see the results of your actions.\n"
        "* The screen's resolution is 1000x1000.\n"
        "* Make sure to click any buttons, links, icons, etc with the cursor tip in the center of the element."
    ),
    "mobile_use": (
        "Use a touchscreen to interact with a mobile device, and take screenshots.\n"
        "* This is an interface to a mobile device with touchscreen. You can perform actions like clicking, typing, "
        "swiping, etc.\n"
        "* Some applications may take time to start or process actions, so you may need to wait and take successive "
        "screenshots to see the results of your actions.\n"
        "* The screen's resolution is 999x999.\n"
        "* Make sure to click any buttons, links, icons, etc with the cursor tip in the center of the element."
    ),
}
_ACTIONS: dict[str, str | dict[str, str]] = {
    "key": {
        "computer_use": "Performs key down presses on the keys passed in order, then releases in reverse order.",
        "mobile_use": 'Perform a key event on the mobile device, in adb\'s `keyevent` syntax, e.g. "volume_up".',
    },
    "type": "Type a string of text.",
    "mouse_move": "Move the cursor to a specified (x, y) coordinate on the screen.",
    "left_click": "Click the left mouse button at a specified (x, y) coordinate.",
    "left_click_drag": "Click and drag the cursor to a specified (x, y) coordinate.",
    "right_click": "Click the right mouse button at a specified (x, y) coordinate.",
    "middle_click": "Click the middle mouse button at a specified (x, y) coordinate.",
    "double_click": "Double-click the left mouse button at a specified (x, y) coordinate.",
    "triple_click": "Triple-click the left mouse button at a specified (x, y) coordinate.",
    "scroll": "Performs a scroll of the mouse scroll wheel.",
    "hscroll": "Performs a horizontal scroll.",
    "click": "Click the point on the screen with coordinate (x, y).",
    "long_press": "Press the point on the screen with coordinate (x, y) for specified seconds.",
    "swipe": "Swipe from the starting point with coordinate (x, y) to the end point with coordinate2 (x2, y2).",
    "system_button": "Press the system button.",
    "open": "Open an app on the device.",
    "wait": "Wait specified seconds for the change to happen.",
    "terminate": "Terminate the current task and report its completion status.",
    "answer": "Answer a question.",
}
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "keys": {"description": "The keys to press.", "type": "array"},
    "text": {"description": "The text.", "type": "string"},
    "coordinate": {
        "description": "(x, y): The x (from the left edge) and y (from the top edge) coordinates.",
        "type": "array",
    },
    "coordinate2": {"description": "(x, y): The coordinates of the end point.", "type": "array"},
    "pixels": {"description": "The amount of scrolling: positive values scroll up.", "type": "number"},
    "time": {"description": "The seconds to wait.", "type": "number"},
    "button": {"description": "The system button.", "enum": list(BUTTONS), "type": "string"},
    "status": {"description": "The status of the task.", "enum": list(STATUSES), "type": "string"},
}
_FORM = (
    "# Response format\n\nFor every step: a line `Thought:` with one concise sentence that explains the next move, a "
    "line `Action:` with a short description of what to do, and one <tool_call></tool_call> block. Output nothing "
    "else. When the task is done, use action=terminate in the tool call."
)


def tool_of(parameters: Mapping[str, Any]) -> str:
    """The tool of the device that the request names. Raises InputError."""
    device = parameters.get("device")
    if device not in DEVICES:
        raise InputError("no_value", f"device is {str(device)[:50]!r}: say {' or '.join(DEVICES)}")
    return DEVICES[device]


def device_of(view: View) -> str:
    """The same for a reply that is there: the question was asked."""
    return DEVICES.get(view.parameters.get("device", ""), "computer_use")


def action_request(task: Task, view: View, screen: Picture, history: str) -> Request:
    """Asks for the next action on a screen. Raises InputError for a device that is none."""
    tool = tool_of(view.parameters)
    asked = replace(view, parameters={**view.parameters, "history": history})
    return Request(
        "",
        (Message("system", (system_text(tool),)), Message("user", (screen, task.ask_text(asked)))),
        task.sampling,
    )


def system_text(tool: str) -> str:
    actions = TAKES[tool]
    about = "\n".join(f"* `{name}`: {_about(name, tool)}" for name in actions)
    arguments = {
        key: {**schema, "description": f"{schema['description']} Required only by {_those_that_need(key, tool)}."}
        for key, schema in _ARGUMENTS.items()
        if any(takes.get(key) for takes in actions.values())
    }
    action = {
        "description": f"The action to perform. The available actions are:\n{about}",
        "enum": list(actions),
        "type": "string",
    }
    tool_schema = signature(tool, _ABOUT[tool], {"action": action, **arguments}, ("action",))
    return f"You are a helpful assistant.\n\n{tools_text(tool_schema)}\n\n{_FORM}"


def history_text(history: Any) -> str:
    """What was done so far, as the prompt says it. history: a text, or a list of steps."""
    if isinstance(history, (list, tuple)):
        steps = [str(step).strip() for step in history if step is not None and str(step).strip()]
        return " ".join(f"Step {number}: {step};" for number, step in enumerate(steps, start=1)) or NOTHING_DONE
    return str(history or "").strip() or NOTHING_DONE


def _about(name: str, tool: str) -> str:
    about = _ACTIONS[name]
    return about if isinstance(about, str) else about[tool]


def _those_that_need(key: str, tool: str) -> str:
    return ", ".join(f"`action={name}`" for name, takes in TAKES[tool].items() if key in takes)
