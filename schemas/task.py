"""What a task is: a question about one unit, and how its answer is read and checked. Knows nothing of engines or Ray.

Adding a task is adding one file to pipelines/tasks/ that defines `TASK`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from schemas.ask import Clip, Completion, Message, Part, Picture, Request, Sampling
from schemas.decode import UnitKind
from schemas.output import Output

_PLACE = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True)
class View:
    """What a task may know of the unit besides its pixels.

    width_px, height_px: the original picture, upright; coordinates in results refer to it; 0 where there is none.
    times_s: presentation times of a clip's or video's frames; empty for pages and images.
    page_count: pages of a whole document. text_layer: what a PDF itself says that the page reads. blank: nothing is
    to be seen on it. parameters: the values that the prompt took, by name.
    """

    unit_kind: UnitKind
    unit_index: int
    width_px: int
    height_px: int
    page: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    times_s: tuple[float, ...] = ()
    page_count: int | None = None
    text_layer: str | None = None
    blank: bool | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TextLine:
    """A line of text found on a page or picture. bbox_px: x0, y0, x1, y1 in pixels of the original. pieces: pictures
    of the line from left to right, more than one where it is too long for the model."""

    bbox_px: tuple[float, float, float, float]
    pieces: tuple[Picture, ...]


@dataclass(frozen=True)
class Unit:
    """content: one picture or clip; the pages of a document in order; nothing for a text. lines: in reading order;
    None unless the job splits pages into lines."""

    view: View
    content: Picture | Clip | tuple[Part, ...]
    lines: tuple[TextLine, ...] | None = None


@dataclass(frozen=True)
class Step:
    """One exchange with the engine."""

    request: Request
    completion: Completion


@dataclass(frozen=True)
class Reading:
    """A parsed reply that was not quite whole. dropped: pieces of it that could not be read. cut: it ends early."""

    value: Any
    dropped: int = 0
    cut: bool = False


FAULTS = (
    "cut",  # the reply ends early: max_tokens, or a list that is not closed
    "dropped",  # pieces of the reply could not be read
    "repeats",  # the reply turns in a circle
    "text_layer",  # far from what the PDF itself says
    "text_on_blank",  # text where nothing is to be seen
    "nothing_read",  # no text where something is to be seen
    "span_outside",  # a time outside the clip or video
    "span_order",  # spans that end before they begin, or go back in time
    "no_page",  # a page is cited that the document does not have
    "not_cited",  # the question asks for places and the answer names none
    "not_final",  # no final answer is marked as such
)
"""What a check can find; a row's `verified.faults`. A task of one's own may add others."""


@dataclass(frozen=True)
class Verdict:
    """What a task's own check found. faults: of FAULTS. cer: edits per character of the text layer."""

    faults: tuple[str, ...] = ()
    cer: float | None = None
    missing_words: int | None = None
    extra_words: int | None = None


ReadLine: TypeAlias = "tuple[TextLine, tuple[str, ...]]"
Next: TypeAlias = "Callable[[Task, Unit, tuple[Step, ...]], Request | None]"


def ask_once(task: Task, unit: Unit, history: tuple[Step, ...]) -> Request | None:
    """The plain loop: the unit and the prompt once, and that is the answer."""
    return None if history else first_request(task, unit)


def first_request(task: Task, unit: Unit) -> Request:
    # the picture comes first, as in the model's cookbooks (facts/qwen3-vl.md §2.6)
    content = unit.content if isinstance(unit.content, tuple) else (unit.content,)
    message = Message("user", (*content, task.ask_text(unit.view)))
    return Request("", (message,), task.sampling, schema=task.output.schema if task.constrained else None)


def no_faults(value: Any, view: View) -> Verdict:  # noqa: ARG001
    return Verdict()


def last_step(task: Task, view: View, history: tuple[Step, ...]) -> int:  # noqa: ARG001
    return -1


@dataclass(frozen=True)
class Task:
    """unit_kinds: what it can be asked about. prompt: the user text; prompts: others for single unit kinds. A {name}
    in it is a parameter: a column of the input table, or a value of the spec ({{name}} stands for itself).

    next: called with the history so far, gives the next request or None at the end of the loop; retries,
    zooms and tool calls all live there. The operator fills in the request's id, label and deadline.
    choose: which step of an ended loop holds the answer; the last unless the task says otherwise.
    parse: reads that reply into the value that `output` describes, alone or in a Reading that counts what was
    lost; raises InvalidOutput.
    parse_lines: for tasks that may be asked about a unit's lines one by one (each piece is a unit to `next`): reads
    all lines, each with its pieces' last replies, into the value of the whole unit; raises InvalidOutput.
    verify: checks a value against what is known of the unit; cheap, and never raises.
    parameters: fixed values, by name. constrained: engines that can, keep the reply to the output's JSON Schema.
    keeps_thinking: what a thinking model thought is part of the reply, in <think> tags, for parse to tell apart; for
    other tasks the reply is the answer alone, where the engine parts the two.
    keeps_reasoning: what was thought goes to the row's own column for it besides.
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
    choose: Callable[[Task, View, tuple[Step, ...]], int] = last_step
    parse_lines: Callable[[tuple[ReadLine, ...], View], Any] | None = None
    verify: Callable[[Any, View], Verdict] = no_faults
    parameters: dict[str, Any] = field(default_factory=dict)
    constrained: bool = False
    keeps_thinking: bool = False
    keeps_reasoning: bool = False

    def prompt_for(self, unit_kind: UnitKind) -> str:
        """The template."""
        return self.prompts.get(unit_kind, self.prompt)

    def ask_text(self, view: View) -> str:
        """The user text for this unit. Values are put in as they are; braces in them mean nothing."""
        return _PLACE.sub(
            lambda found: f"{{{found[1]}}}" if found[1] else str(view.parameters[found[2]]),
            self.prompt_for(view.unit_kind),
        )

    def wants(self) -> tuple[str, ...]:
        """Names of the values that the prompts need, in the order of their first place."""
        found = (match[2] for prompt in (self.prompt, *self.prompts.values()) for match in _PLACE.finditer(prompt))
        return tuple(dict.fromkeys(name for name in found if name))

    def requests(self, row: Mapping[str, Any]) -> list[dict[str, Any] | None]:
        """The values of each request about a unit, given its row of the input table; None where one is missing.

        A list of texts is as many requests; lists beside each other go in step and must be of one length.
        """
        values = {name: self.parameters.get(name, row.get(name)) for name in self.wants()}
        many = {name: value for name, value in values.items() if isinstance(value, list) and _texts(value)}
        counts = {len(value) for value in many.values()}
        if len(counts) > 1 or 0 in counts:
            return [None]
        found = [
            {name: many[name][index] if name in many else value for name, value in values.items()}
            for index in range(counts.pop() if counts else 1)
        ]
        return [None if any(_missing(value) for value in each.values()) else each for each in found]


def _texts(values: list[Any]) -> bool:
    return all(value is None or isinstance(value, str) for value in values)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
