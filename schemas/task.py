"""What a task is: a question about one unit, and how its answer is read and checked. Knows nothing of engines or Ray.

Adding a task is adding one file to pipelines/tasks/ that defines `TASK`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from schemas.decode import UnitKind
from schemas.errors import SpecError
from schemas.output import Output
from schemas.request import Clip, Completion, Message, Part, Picture, Request, Sampling
from schemas.unit import INPUT_FAULTS, Locator, UnitFacts

_PLACE = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True)
class UnitKey:
    """What a unit is, and which of its input's, from 0."""

    unit_kind: UnitKind
    unit_index: int


@dataclass(frozen=True)
class View(Locator, UnitFacts, UnitKey):
    """What a task may know of the unit besides its pixels: the fields of UnitKey, UnitFacts and Locator, in this order,
    and these. page_count: pages of a whole document, screens of a whole episode. parameters: the values that the prompt
    took, by name."""

    page_count: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TextLine:
    """A line of text of a page or picture. bbox_px: x0, y0, x1, y1 in pixels of the original. pieces: pictures
    of the line from left to right, more than one where it is too long for the model."""

    bbox_px: tuple[float, float, float, float]
    pieces: tuple[Picture, ...]


@dataclass(frozen=True)
class Unit:
    """content: one picture or clip; the pages of a document in order; each screen of an episode behind its heading
    (operators/media/episode.py); nothing for a text. lines: in reading order; None unless the job splits pages into
    lines.
    full_res: each picture of the content at its own size (any size), None where the content shows as much; empty unless
    a task of the job zooms in."""

    view: View
    content: Picture | Clip | tuple[Part, ...]
    lines: tuple[TextLine, ...] | None = None
    full_res: tuple[Picture | None, ...] = ()


@dataclass(frozen=True)
class Step:
    """One exchange with the engine. part: which of the requests that were asked together this one was."""

    request: Request
    completion: Completion
    part: int = 0


@dataclass(frozen=True)
class Reply:
    """What an ended loop comes to. text: raw, for the row's column `text` and for the parser. steps: those that it is
    made of. parse: as `Task.parse`, for a reply that cannot be read from its text alone."""

    text: str
    steps: tuple[Step, ...]
    parse: Callable[[View], Any] | None = None


@dataclass(frozen=True)
class ParsedReply:
    """A parsed reply, and what was lost on the way. dropped: pieces of it that could not be read. cut: it ends early.
    faults: of FAULTS, what the value does not show any more: why a piece was dropped."""

    value: Any
    dropped: int = 0
    cut: bool = False
    faults: tuple[str, ...] = ()


CODE_FAULTS = {
    "not_well_formed": "XML or Python that does not parse",
    "unresolved_id": "a diagram's edge or parent names a cell that is not there",
    "not_shown": "it could not be rendered within its limits",
    "shows_nothing": "nothing is to be seen where the input shows something",
    "script_errors": "errors on the page's console",
    "words_differ": "what it shows does not read as the PDF's own text",
    "reaches_out": "it asked for the network, a file, a dialog or a download, and was refused",
}
"""Of code that was rendered or parsed."""

FAULTS = {
    "cut": "the reply ends early: max_tokens, or a list that is not closed",
    "dropped": "pieces of the reply could not be read",
    "refused": "the model declines to answer, or says that it cannot",
    "repeats": "the reply turns in a circle",
    "text_layer": "far from what the PDF itself says",
    "text_on_blank": "text where nothing is to be seen",
    "nothing_read": "no text where something is to be seen",
    "span_outside": "a time outside the clip or video",
    "span_order": "spans that end before they begin, or go back in time",
    "no_page": "a page is cited that the document does not have",
    "not_cited": "the question asks for places and the answer names none",
    "not_final": "no final answer is marked as such",
    "box_outside": "a box or point outside the picture; of a box in space, all of it",
    "empty_box": "a box without area",
    "behind_camera": "a box in space that is wholly behind the camera",
    "implausible_size": "a box in space as what it is called never is: larger, smaller, its sides exchanged",
    "implausible_pose": "a box in space with angles that are none, or a vehicle that does not stand on its wheels",
    "up_disagrees": "upright things (furniture, cars) that do not agree on which way is up",
    "no_camera": "nothing says which camera took the picture, so boxes in space cannot be projected",
    "no_choice": "the question offers options and the answer takes none of them",
    "point_outside": "a point that is not on the screen",
    "not_on_element": "a point on none of the elements that are known",
    **CODE_FAULTS,
    **INPUT_FAULTS,
}
"""What a check can report; a row's `verified.faults`. A task of one's own may add others."""


@dataclass(frozen=True)
class CheckResult:
    """What a task's own check reports. faults: of FAULTS. cer: edits per character of the text layer."""

    faults: tuple[str, ...] = ()
    cer: float | None = None
    missing_words: int | None = None
    extra_words: int | None = None


CodeKind: TypeAlias = Literal["html", "svg", "drawio", "python"]
"""How the code of committed rows is checked (operators/code_check/code_check.py): a page or a drawing is rendered and
compared with the input, a diagram's cells are resolved, a program is parsed and never run."""

Next: TypeAlias = "Callable[[Task, Unit, tuple[Step, ...]], Request | tuple[Request, ...] | None]"
FinalReply: TypeAlias = "Callable[[Task, Unit, tuple[Step, ...]], Reply]"


def ask_once(task: Task, unit: Unit, history: tuple[Step, ...]) -> Request | None:
    """The plain loop: the unit and the prompt once, and that is the answer."""
    return None if history else first_request(task, unit)


def first_request(task: Task, unit: Unit) -> Request:
    # the picture comes first, as in the model's cookbooks (docs/facts/qwen3-vl.md §2.6)
    content = unit.content if isinstance(unit.content, tuple) else (unit.content,)
    message = Message("user", (*content, task.ask_text(unit.view)))
    return Request("", (message,), task.sampling, schema=task.output.schema if task.constrained else None)


def last_reply(task: Task, unit: Unit, history: tuple[Step, ...]) -> Reply:  # noqa: ARG001
    return Reply(reply_text(task, history[-1]), history[-1:])


def reply_text(task: Task, step: Step) -> str:
    """What the model wrote, its reasoning before it where the task reads that too."""
    text, reasoning = step.completion.text, step.completion.reasoning
    return f"<think>{reasoning}</think>\n\n{text}" if task.reasoning_in_reply and reasoning is not None else text


def no_faults(value: Any, view: View) -> CheckResult:  # noqa: ARG001
    return CheckResult()


@dataclass(frozen=True)
class Task:
    """unit_kinds: what it can be asked about. prompt: the user text; prompts: others for single unit kinds. A {name}
    in it is a parameter: a column of the input table, or a value of the spec ({{name}} stands for itself).

    next: called with the history so far, gives the next request, several that are asked together and all come back
    before the next call, or None at the end of the loop; retries, crops, lines and tool calls all live there
    (pipelines/loops). The operator fills in the request's id, label and deadline.
    reply: what the steps of an ended loop come to; the last step's reply unless the task has another rule.
    parse: reads that text into the value that `output` describes, alone or in a ParsedReply that counts what was lost;
    raises InvalidOutput.
    verify: checks a value against what is known of the unit; cheap, and never raises.
    parameters: fixed values, by name. defaults: values by name where neither the spec nor the input table has one;
    they need not stand in the prompt, and each is one value, even if it is a list.
    list_parameters: names of the parameters whose list of texts is one value, joined with commas in the prompt, instead
    of a request for each.
    camera: the task needs the picture's intrinsics, as `view.parameters["intrinsics"]` (the fields of
    schemas.camera.Intrinsics; absent where nobody knows them).
    by_line: where the job splits pages, it is asked about each line (set by pipelines/loops/lines.py); such a reply
    cannot be read again from its text.
    zooms: how often the model may ask for a crop before it answers (pipelines/loops/zoom.py).
    constrained: engines that can, keep the reply to the output's JSON Schema.
    reasoning_in_reply: a thinking model's reasoning is part of the reply, in <think> tags, for parse to tell apart;
    for other tasks the reply is the answer alone, where the engine parts the two.
    reasoning_column: the reasoning goes to the row's own column for it besides.
    code_check: how the `code` of a result is checked once its row is committed; None where there is no code.
    verify_shown: checks what is printed on the page or drawing that such code shows, like verify.
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
    reply: FinalReply = last_reply
    verify: Callable[[Any, View], CheckResult] = no_faults
    parameters: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    by_line: bool = False
    zooms: int = 0
    list_parameters: tuple[str, ...] = ()
    camera: bool = False
    constrained: bool = False
    reasoning_in_reply: bool = False
    reasoning_column: bool = False
    code_check: CodeKind | None = None
    verify_shown: Callable[[str, View], CheckResult] = no_faults

    def __post_init__(self) -> None:
        if self.code_check is not None and "code" not in self.output.schema["properties"]:
            raise SpecError(f"task {self.name}: code_check needs an output with a `code`")

    def prompt_for(self, unit_kind: UnitKind) -> str:
        """The template."""
        return self.prompts.get(unit_kind, self.prompt)

    def ask_text(self, view: View) -> str:
        """The user text for this unit. Values are put in as they are; braces in them mean nothing."""
        return _PLACE.sub(
            lambda place: f"{{{place[1]}}}" if place[1] else _rendered(view.parameters[place[2]]),
            self.prompt_for(view.unit_kind),
        )

    def required_parameters(self) -> tuple[str, ...]:
        """Names of the values that the prompts need, in the order of their first place."""
        places = (place for prompt in (self.prompt, *self.prompts.values()) for place in _PLACE.finditer(prompt))
        return tuple(dict.fromkeys(place[2] for place in places if place[2]))

    def parameter_names(self) -> tuple[str, ...]:
        """Names of all values that a request may have: those of the prompts, and those with a default."""
        return tuple(dict.fromkeys((*self.required_parameters(), *self.defaults)))

    def requests(self, row: Mapping[str, Any]) -> list[dict[str, Any] | None]:
        """The values of each request about a unit, from its row of the input table; None where one is missing.

        A list of texts is as many requests, unless the value has a default or is one of `list_parameters`; lists beside
        each other go in step and must be of one length.
        """
        values = {name: self.parameters.get(name, row.get(name)) for name in self.parameter_names()}
        values |= {name: value for name, value in self.defaults.items() if _missing(values[name])}
        many = {
            name: value
            for name, value in values.items()
            if name not in (*self.defaults, *self.list_parameters) and isinstance(value, list) and _texts(value)
        }
        counts = {len(value) for value in many.values()}
        if len(counts) > 1 or 0 in counts:
            return [None]
        requests = [
            {name: many[name][index] if name in many else value for name, value in values.items()}
            for index in range(counts.pop() if counts else 1)
        ]
        required = [name for name in self.required_parameters() if name not in self.defaults]
        return [
            None
            if any(_missing(request[name]) for name in required)
            else {name: value for name, value in request.items() if value is not None}
            for request in requests
        ]


def _texts(values: list[Any]) -> bool:
    return all(value is None or isinstance(value, str) for value in values)


def _missing(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _rendered(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) and _texts(value) else str(value)
