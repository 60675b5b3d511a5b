"""Describe a picture or a clip in named parts: summary, setting, objects, actions, text."""

from __future__ import annotations

import unicodedata
from typing import Any

from operators.checks.refusals import declines
from pipelines.replies.elements import read_cut_object, read_value
from schemas.errors import InvalidOutput
from schemas.output import Output, list_of, record
from schemas.request import Sampling
from schemas.task import ParsedReply, Task, View

_LISTS = ("actions", "visible_text")


def parse(text: str, view: View) -> ParsedReply:  # noqa: ARG001
    """One JSON object. Parts that are missing are empty; a summary there must be."""
    value = read_value(text, "{")
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict)), None)
    cut = value is None
    if value is None:
        value = read_cut_object(text)
    if not isinstance(value, dict) or not (summary := _plain(value.get("summary"))):
        raise InvalidOutput("the reply holds no object with a summary")
    dropped = 0
    objects = []
    for item in _list(value.get("objects")):
        thing = item if isinstance(item, dict) else {"name": item}
        if name := _plain(thing.get("name")):
            objects.append({"name": name, "description": _plain(thing.get("description"))})
        else:
            dropped += 1
    lists: dict[str, list[str]] = {}
    for key in _LISTS:
        entries = [_plain(item) for item in _list(value.get(key))]
        lists[key] = [item for item in entries if item]
        dropped += len(entries) - len(lists[key])
    return ParsedReply(
        {"summary": summary, "setting": _plain(value.get("setting")), "objects": objects, **lists},
        dropped,
        cut,
        ("refused",) if declines(summary) else (),
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None or value == "" else [value]


def _plain(value: Any) -> str:
    return " ".join(unicodedata.normalize("NFC", value).split()) if isinstance(value, str) else ""


_FORM = (
    '{"summary": "one sentence", "setting": "place and time", "objects": [{"name": "…", "description": "…"}], '
    '"actions": ["…"], "visible_text": ["…"]}'
)
_TEXTS = list_of({"type": "string", "minLength": 1})

TASK = Task(
    name="caption_structured",
    summary="a description of a picture or a clip in named parts",
    unit_kinds=("image", "clip"),
    prompt=f"Describe this image as JSON of this form: {_FORM}",
    prompts={"clip": f"Describe this video as JSON of this form: {_FORM}"},
    output=Output(
        record(
            summary={"type": "string", "minLength": 1},
            setting={"type": "string"},
            objects=list_of(record(name={"type": "string", "minLength": 1}, description={"type": "string"})),
            actions=_TEXTS,
            visible_text=_TEXTS,
        )
    ),
    sampling=Sampling(max_tokens=2048),
    parse=parse,
    constrained=True,
)
