"""Tools in the form that the model was trained on: how they are offered to it, and how its calls are read.

The Hermes style of Qwen-Agent (docs/facts/qwen3-vl.md §2.8): signatures in the system message, and in the reply
`<tool_call>{"name": …, "arguments": {…}}</tool_call>`. Calls are read without their tags too, fenced or bare, and
where the arguments stand alone; and so are the calls of Qwen3-Coder and Qwen3.5,
`<function=name><parameter=key>value</parameter></function>`, and those of Python, `click(point='(500, 300)')`. Knows
nothing of what a tool does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pipelines.replies.elements import read_elements, read_value
from pipelines.replies.thinking import split_thinking

_DECODER = json.JSONDecoder(strict=False)
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION = re.compile(r"<function\s*=\s*[\"']?([\w.-]{1,100})[\"']?\s*>")
_PARAMETER = re.compile(r"<parameter\s*=\s*[\"']?([\w.-]{1,100})[\"']?\s*>")
_TYPED = ("text", "content", "value", "query", "answer")
_PYTHON = re.compile(
    r"(?<![\w.])(?:[A-Za-z]\w{0,30}\.)?([a-z][a-z_]{0,39}|[a-z]+[A-Z][a-z]+)"
    r"\(((?:\"(?:[^\"\\]|\\.){0,2000}+\"|'(?:[^'\\]|\\.){0,2000}+'|[^()'\"\n]|\([^()\n]{0,100}\)){0,4000}+)\)"
)
_ARGUMENT = re.compile(
    r"(?:([A-Za-z_]\w{0,30})\s*=\s*)?"
    r"(\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'|\[[^\[\]]*\]|\([^()]*\)|[^\s,()\[\]'\"]+)\s*(?:,|$)"
)
_ENDS = re.compile(r"\s*(?:</parameter>\s*)?(?:</function>\s*)?(?:</tool_call>\s*)?$")


@dataclass(frozen=True)
class Call:
    """name: None where the arguments stand alone."""

    name: str | None
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Calls:
    """calls: in order. dropped: calls that cannot be read. text: the answer without its calls."""

    calls: tuple[Call, ...]
    dropped: int
    text: str


def tools_text(*signatures: dict[str, Any]) -> str:
    """What the system message says of tools: Qwen's chat template, word for word."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in signatures)
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        f"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{lines}\n</tools>\n\n"
        "For each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )


def with_tool(system: str, tool: dict[str, Any]) -> str:
    """A system message that offers one tool more. system: what it says so far, which may be nothing."""
    if "\n</tools>" in system:
        return system.replace("\n</tools>", f"\n{json.dumps(tool, ensure_ascii=False)}\n</tools>", 1)
    return f"{system}\n\n{tools_text(tool)}".lstrip()


def signature(name: str, description: str, properties: dict[str, Any], required: Collection[str]) -> dict[str, Any]:
    """A tool as it is offered to the model. properties: JSON Schemas of the arguments."""
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def read_calls(reply: str, keys: Collection[str], names: Collection[str] = ()) -> Calls:
    """The calls of a reply, reasoning left out. keys: arguments by which a call is known that lacks its name; names:
    functions by which one is known that is written in Python.

    Raises nothing.
    """
    _, answer = split_thinking(reply)
    if _FUNCTION.search(answer):
        return _functions(answer)
    if _OPEN in answer:
        return _tagged(answer, keys)
    elements = read_elements(answer, ("name", "arguments", *keys))
    calls = tuple(call for value in elements.values if (call := _of(value, keys)) is not None)
    start = re.search(r"```|[\[{]", answer)
    dropped = elements.dropped + len(elements.values) - len(calls)
    if not calls and (python := _in_python(answer, names)).calls:
        return python
    return Calls(calls, dropped, answer[: start.start()].strip() if start else answer)


def _in_python(answer: str, names: Collection[str]) -> Calls:
    """Of two numbers without a key the first is x, the second y; of texts the first is the text."""
    calls: list[Call] = []
    first = len(answer)
    for match in _PYTHON.finditer(answer):
        if match[1].lower() not in names:
            continue
        arguments: dict[str, Any] = {}
        for place, (key, value) in enumerate(_ARGUMENT.findall(match[2])):
            if value[0] in "\"'":
                value = _unescaped(value[1:-1])
            key = key or (("x", "y")[place] if place < 2 and _is_number(value) else f"text{place or ''}")
            arguments[key] = _xml_value(key, value) if value[:1] == "[" else value
        calls.append(Call(match[1].lower(), arguments))
        first = min(first, match.start())
    text = answer[:first].rstrip()
    return Calls(tuple(calls), 0, re.sub(r"Action\s{0,3}:$", "", text.removesuffix("```python").rstrip()).rstrip())


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), text)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,6}(?:\.\d{1,6})?", text) is not None


def _functions(answer: str) -> Calls:
    """Calls in XML."""
    openings = list(_FUNCTION.finditer(answer))
    calls: list[Call] = []
    for number, opening in enumerate(openings):
        end = openings[number + 1].start() if number + 1 < len(openings) else len(answer)
        body = answer[opening.end() : end].removesuffix(_OPEN)
        closing = body.rfind("</function>")
        body = body[:closing] if closing >= 0 else body
        parameters = list(_PARAMETER.finditer(body))
        arguments: dict[str, Any] = {}
        for place, parameter in enumerate(parameters):
            until = parameters[place + 1].start() if place + 1 < len(parameters) else len(body)
            value = _ENDS.sub("", body[parameter.end() : until])
            arguments[parameter[1]] = _xml_value(parameter[1], value.removeprefix("\n").removesuffix("\n"))
        calls.append(Call(opening[1], arguments))
    last = answer[openings[-1].end() :]
    _, closed, behind = last.rpartition("</function>")
    text = answer[: openings[0].start()].rstrip().removesuffix(_OPEN) + (behind.replace(_CLOSE, "") if closed else "")
    return Calls(tuple(calls), 0, text.strip())


def _xml_value(key: str, value: str) -> Any:
    """Lists and objects as such; numbers stay texts, as does what is to be typed."""
    if key in _TYPED or value.strip()[:1] not in ("[", "{"):
        return value if key in _TYPED else value.strip()
    try:
        return _DECODER.decode(value.strip())
    except (ValueError, RecursionError):
        return value


def _tagged(answer: str, keys: Collection[str]) -> Calls:
    calls: list[Call] = []
    dropped = place = 0
    around = ""
    while (start := answer.find(_OPEN, place)) >= 0:
        around += answer[place:start]
        start += len(_OPEN)
        call, place = _at(answer, start, keys)
        if call is None:
            end = min((at for tag in (_CLOSE, _OPEN) if (at := answer.find(tag, start)) >= 0), default=len(answer))
            call, place = _damaged(answer[start:end], keys), end
        if call is None:
            dropped += 1
        else:
            calls.append(call)
        closing = re.compile(rf"\s*{_CLOSE}").match(answer, place)
        place = closing.end() if closing else place
    return Calls(tuple(calls), dropped, (around + answer[place:]).strip())


def _at(answer: str, place: int, keys: Collection[str]) -> tuple[Call | None, int]:
    """The call that is sound JSON from here on, whatever stands in its texts; and where it ends."""
    opening = re.compile(r"[\s`\w]{0,20}(?=\{)").match(answer, place)
    if opening is None:
        return None, place
    try:
        value, end = _DECODER.raw_decode(answer, opening.end())
    except (ValueError, RecursionError):
        return None, place
    return _of(value, keys), end


def _damaged(text: str, keys: Collection[str]) -> Call | None:
    value = read_value(text, "{")
    if isinstance(value, dict) and (call := _of(value, keys)) is not None:
        return call
    # the outer object is damaged: its name by itself, and the arguments
    named = re.search(r'"name"\s*:\s*"([^"]*)"', text)
    values = [element for element in read_elements(text, keys).values if any(key in element for key in keys)]
    return Call(named[1] if named else None, values[0]) if len(values) == 1 else None


def _of(value: dict[str, Any], keys: Collection[str]) -> Call | None:
    if isinstance(value.get("function"), dict):  # as the OpenAI dialect has it
        value = value["function"]
    arguments = next((value[key] for key in ("arguments", "parameters", "input", "args") if key in value), None)
    if isinstance(arguments, str):  # JSON in a string, as the OpenAI dialect has it
        arguments = read_value(arguments, "{")
    name = next(
        (value[key] for key in ("name", "tool", "tool_name", "function") if isinstance(value.get(key), str)), None
    )
    if isinstance(arguments, dict):
        return Call(name, arguments)
    return Call(name, value) if any(key in value for key in keys) else None
