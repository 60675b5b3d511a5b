"""Read all text of a page or picture, as plain text.

A page that fails its check is asked again, enlarged and turned; the best of its replies is the answer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from operators.checks.check_reply import check_reply
from operators.checks.page_check import text_faults
from operators.checks.text_layer import compare
from operators.media.pictures import enlarged, enlarged_size, rotated
from pipelines.loops.lines import LineReplies, by_line
from pipelines.replies.nothing import says_no_text
from pipelines.replies.scripts import script_of
from pipelines.replies.transcript import transcript
from schemas.output import TEXT_OR_NULL, Output, list_of, nullable, record
from schemas.request import Message, Picture, Request, Sampling
from schemas.task import CheckResult, Reply, Step, Task, Unit, View, first_request, last_reply

_TURNS = (90, 270, 180)
_MISREAD = {"repeats", "nothing_read", "refused"}
_WORTH = 0.6
"""Errors per character of the text layer from which a page far from it is asked again. Below, the layer itself is
often to blame (old scans carry poor ones), and five requests about each such page would be a heavy bill."""
_AGREE = 0.1
"""Errors per character between two looks that read the same."""
_FEW_LETTERS = 20


def parse(text: str, view: View) -> dict[str, Any]:
    """The reply is the text; composed (NFC), without trailing blanks. No text at all is a valid answer, and so is the
    sentence that there is none."""
    if says_no_text(text):
        text = ""
    lines = transcript(unicodedata.normalize("NFC", text), view.text_layer).splitlines()
    read = "\n".join(line.rstrip() for line in lines)
    return {"text": read, "script": script_of(read), "lines": None}


def read_lines(lines: tuple[LineReplies, ...], view: View) -> dict[str, Any]:  # noqa: ARG001
    """Each line's pieces joined by a blank; lines in which nothing was read are left out."""
    texts: list[str] = []
    read: list[dict[str, Any]] = []
    for line, pieces in lines:
        plain = (transcript(unicodedata.normalize("NFC", piece), None) for piece in pieces)
        text = " ".join(" ".join(piece.split()) for piece in plain).strip()
        if text:
            texts.append(text)
            read.append({"text": text, "bbox_px": list(line.bbox_px)})
    text = "\n".join(texts)
    return {"text": text, "script": script_of(text), "lines": read}


def verify(value: Any, view: View) -> CheckResult:
    return text_faults(value["text"], view)


def ask_until_read(task: Task, unit: Unit, history: tuple[Step, ...]) -> Request | None:
    """Once; again enlarged, then turned, as long as what was read fails its check.

    A picture without a text layer in which nothing was read may hold nothing: that is asked once more, enlarged. Where
    that second look reads the same as the first, it is the layer that is in doubt, and nobody asks on.
    """
    if not history:
        return first_request(task, unit)
    picture = unit.content
    assert isinstance(picture, Picture)
    looks = _looks(picture)
    if len(history) > len(looks):
        return None
    note, look = looks[len(history) - 1]
    if not _is_in_doubt(task, unit.view, history) and not (note == "enlarged" and _may_be_empty(unit.view, history)):
        return None
    request = first_request(task, unit)
    (message,) = request.messages
    return replace(request, messages=(Message(message.role, (look(), *message.parts[1:])),), note=note)


def _is_in_doubt(task: Task, view: View, history: tuple[Step, ...]) -> bool:
    """Whether nothing was read well yet, and no two looks say that it is the layer that is wrong."""
    checks = [_check(task, view, step) for step in history]
    if not all(map(_misread, checks)):
        return False
    sound = [step for step, check in zip(history, checks, strict=True) if not _MISREAD & set(check["faults"])]
    return not any(_confirmed(step, sound, view) for step in sound)


def _may_be_empty(view: View, history: tuple[Step, ...]) -> bool:
    return not view.blank and not any(map(str.isalnum, history[-1].completion.text))


def _looks(picture: Picture) -> list[tuple[str, Callable[[], Picture]]]:
    """By their notes; none is drawn before it is called."""
    looks: list[tuple[str, Callable[[], Picture]]] = [
        (f"rotated {turn}", partial(rotated, picture, turn)) for turn in _TURNS
    ]
    size = enlarged_size(picture)
    return [("enlarged", partial(enlarged, picture, size)), *looks] if size is not None else looks


def best_reading(task: Task, unit: Unit, history: tuple[Step, ...]) -> Reply:
    """The layer decides between readings of which one is near to it. Where none is, it may be the layer that is wrong:
    then a reading counts that a second look confirms, then one that has more of the layer's words, then the first."""
    if len(history) == 1:
        return last_reply(task, unit, history)
    checks = [_check(task, unit.view, step) for step in history]
    distances = [check["cer"] if check["cer"] is not None else 0.0 for check in checks]
    near = min(distances) <= _WORTH

    def badness(index: int) -> tuple[float, ...]:
        step, check = history[index], checks[index]
        faults = len(_MISREAD & set(check["faults"]))
        empty = not any(char.isalnum() for char in step.completion.text)
        if near:
            return faults + (distances[index] > _WORTH), distances[index], empty
        return faults, empty, not _confirmed(step, history, unit.view), check["missing_words"] or 0

    best = min(range(len(history)), key=badness)
    return last_reply(task, unit, (history[best],))


def _check(task: Task, view: View, step: Step) -> dict[str, Any]:
    text = step.completion.text
    return check_reply(task, view, text, task.parse(text, view), cut=False).verified


def _misread(check: dict[str, Any]) -> bool:
    """Whether another look may do better."""
    far = "text_layer" in check["faults"] and (check["cer"] or 0.0) > _WORTH
    return far or bool(_MISREAD & set(check["faults"]))


def _confirmed(step: Step, history: Sequence[Step], view: View) -> bool:
    """Whether it and another look at the page the same way up read the same, and as much as a page of that layer holds;
    two that agree on a few letters are no evidence."""
    upright = [other for other in history if not other.request.note.startswith("rotated")]
    if step not in upright or sum(map(str.isalnum, step.completion.text)) < _enough(view):
        return False
    others = [compare(other.completion.text, step.completion.text) for other in upright if other is not step]
    return any(difference is not None and difference.cer <= _AGREE for difference in others)


def _enough(view: View) -> float:
    return max(_FEW_LETTERS, 0.5 * sum(map(str.isalnum, view.text_layer or "")))


_LINE = record(
    text={"type": "string", "minLength": 1},
    bbox_px={"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
)

TASK = by_line(
    Task(
        name="ocr",
        summary="all text of a page or picture, as plain text",
        unit_kinds=("page", "image"),
        prompt="Read all the text in the image.",
        output=Output(
            record(
                text={"type": "string"},
                script=TEXT_OR_NULL,  # of most letters, by its Unicode name
                # only where pages are split: each line and its box, x0, y0, x1, y1 in pixels of the original
                lines=nullable(list_of(_LINE)),
            )
        ),
        sampling=Sampling(max_tokens=4096),
        parse=parse,
        next=ask_until_read,
        reply=best_reading,
        verify=verify,
    ),
    read_lines,
)
