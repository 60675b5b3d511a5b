"""What a task is: a question about one unit, and how its answer is read. Knows nothing of engines or Ray.

Adding a task is adding one file to pipelines/tasks/ that defines `TASK`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from schemas.ask import Clip, Completion, Message, Picture, Request, Sampling
from schemas.decode import UnitKind
from schemas.output import Output


@dataclass(frozen=True)
class View:
    """What a task may know of the unit besides its pixels.

    width_px, height_px: the original picture, upright; coordinates in results refer to it.
    times_s: presentation times of a clip's frames; empty for pages and images.
    """

    unit_kind: UnitKind
    unit_index: int
    width_px: int
    height_px: int
    page: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    times_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class TextLine:
    """A line of text found on a page or picture. box: x0, y0, x1, y1 in pixels of the original. pieces: pictures of
    the line from left to right, more than one where it is too long for the model."""

    box: tuple[float, float, float, float]
    pieces: tuple[Picture, ...]


@dataclass(frozen=True)
class Unit:
    """lines: in reading order; None unless the job splits pages into lines."""

    view: View
    content: Picture | Clip
    lines: tuple[TextLine, ...] | None = None


@dataclass(frozen=True)
class Step:
    """One exchange with the engine."""

    request: Request
    completion: Completion


ReadLine: TypeAlias = "tuple[TextLine, tuple[str, ...]]"
Next: TypeAlias = "Callable[[Task, Unit, tuple[Step, ...]], Request | None]"


def ask_once(task: Task, unit: Unit, history: tuple[Step, ...]) -> Request | None:
    """The plain loop: the unit and the prompt once, and that is the answer."""
    if history:
        return None
    # the picture comes first, as in the model's cookbooks (facts/qwen3-vl.md §2.6)
    message = Message("user", (unit.content, task.prompt_for(unit.view.unit_kind)))
    return Request("", (message,), task.sampling, schema=task.output.schema if task.constrained else None)


@dataclass(frozen=True)
class Task:
    """unit_kinds: what it can be asked about. prompt: the user text; prompts: others for single unit kinds.

    next: called with the history so far, gives the next request or None at the end of the loop; retries,
    zooms and tool calls all live there. The operator fills in the request's id, label and deadline.
    constrained: the reply is JSON, and the engine holds it to the schema of `output` while it is written.
    parse: reads the last reply into the value that `output` describes; raises InvalidOutput.
    parse_lines: for tasks that may be asked about a unit's lines one by one (each piece is a unit to `next`): reads
    all lines, each with its pieces' last replies, into the value of the whole unit; raises InvalidOutput.
    """

    name: str
    summary: str
    unit_kinds: tuple[UnitKind, ...]
    prompt: str
    output: Output
    parse: Callable[[str, View], Any]
    prompts: dict[UnitKind, str] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    next: Next = ask_once
    parse_lines: Callable[[tuple[ReadLine, ...], View], Any] | None = None
    constrained: bool = False

    def prompt_for(self, unit_kind: UnitKind) -> str:
        return self.prompts.get(unit_kind, self.prompt)
