"""Line by line: a unit that comes split into its lines is asked about each of them, all at once, and is one answer.

A task that can read lines says how in its own file: `TASK = by_line(Task(…), read_lines)`. About a unit that is not
split it is asked as ever. A line too long for the model is several pieces; each piece is asked about once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from schemas.request import Picture, Request
from schemas.task import FinalReply, Next, Reply, Step, Task, TextLine, Unit, View, reply_text

LineReplies: TypeAlias = tuple[TextLine, tuple[str, ...]]
"""A line and what was read of each of its pieces; an empty text where a request failed."""
ReadLines: TypeAlias = Callable[[tuple[LineReplies, ...], View], Any]
"""Reads all lines of a unit into its value, as `Task.parse` does; raises InvalidOutput."""


def by_line(task: Task, read_lines: ReadLines) -> Task:
    return replace(task, by_line=True, next=partial(_next, task.next), reply=partial(_reply, task.reply, read_lines))


def _next(inner: Next, task: Task, unit: Unit, history: tuple[Step, ...]) -> Request | tuple[Request, ...] | None:
    if unit.lines is None:
        return inner(task, unit, history)
    if history:
        return None
    view = replace(unit.view, text_layer=None, blank=None)  # those are of the whole unit
    return tuple(_about(inner, task, Unit(view, piece)) for line in unit.lines for piece in line.pieces)


def _about(inner: Next, task: Task, piece: Unit) -> Request:
    request = inner(task, piece, ())
    assert isinstance(request, Request), f"{task.name} asks nothing about a line"
    assert isinstance(piece.content, Picture)
    most_tokens = min(request.sampling.max_tokens, _most_tokens(piece.content))
    return replace(request, sampling=replace(request.sampling, max_tokens=most_tokens))


def _reply(inner: FinalReply, read_lines: ReadLines, task: Task, unit: Unit, history: tuple[Step, ...]) -> Reply:
    if unit.lines is None:
        return inner(task, unit, history)
    texts = {step.part: reply_text(task, step) for step in history}
    lines: list[LineReplies] = []
    part = 0
    for line in unit.lines:
        lines.append((line, tuple(texts.get(part + piece, "") for piece in range(len(line.pieces)))))
        part += len(line.pieces)
    text = "\n".join(" ".join(pieces) for _, pieces in lines)
    return Reply(text, history, partial(read_lines, tuple(lines)))


def _most_tokens(piece: Picture) -> int:
    """Bound of a reply about a piece of a line: no script has more than that in a token's square of the picture."""
    return 16 + 6 * (piece.width_px * piece.height_px // 1024)
