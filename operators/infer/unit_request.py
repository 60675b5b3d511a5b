"""One request of a task about one unit, from the first question to the result: loops, lines, attempts, outcome.
Knows nothing of engines; what is asked and what comes back passes through `Conversation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from operators.checks.check_reply import check_reply
from schemas.errors import Failure, InputError
from schemas.request import Completion, Picture, Request
from schemas.task import Step, Task, TextLine, Unit, View


class UnitRequest:
    """A single conversation, or one for each piece of the unit's lines.

    unit: None when it could not be read. values: what the prompt takes from the input table, None when the table
    lacks it. name: a prefix of request ids. label: what the request is about. fault: why it cannot be asked although
    the unit can be read.
    """

    def __init__(
        self,
        task: Task,
        unit: Unit | None,
        values: dict[str, Any] | None,
        name: str,
        label: Mapping[str, str],
        fault: Failure | None = None,
    ) -> None:
        self.task = task
        self.values = values
        self._fault = fault
        self.conversations: list[Conversation] = []
        self._view: View | None = None
        self._lines: list[tuple[TextLine, list[Conversation]]] | None = None
        if unit is None or values is None or fault is not None:
            return
        unit = replace(unit, view=replace(unit.view, parameters=values))
        self._view = unit.view
        if task.parse_lines is None or unit.lines is None:
            self.conversations.append(Conversation(task, f"{name}/0", unit, label))
            return
        self._lines = []
        part = replace(unit.view, text_layer=None, blank=None)  # those are of the page
        for line in unit.lines:
            pieces = [
                Conversation(
                    task, f"{name}/{len(self.conversations) + i}", Unit(part, piece), label, _most_tokens(piece)
                )
                for i, piece in enumerate(line.pieces)
            ]
            self._lines.append((line, pieces))
            self.conversations += pieces

    def columns(self, unreadable: dict[str, Any] | None) -> dict[str, Any]:
        """What the answer gives to its row: status, error, result, replies, checks, cost.

        unreadable: the error struct of a unit that could not be read.
        """
        status, failure, result, verified = self._outcome(unreadable)
        completions = [step.completion for conversation in self.conversations for step in conversation.history]
        return {
            "status": status,
            "error": failure,
            "result": result,
            "text": self._text(),
            "reasoning": self._reasoning(),
            "finish_reason": self._finish_reason(),
            "attempts": self._attempts(),
            "verified": verified,
            "prompt_tokens": sum(each.prompt_tokens for each in completions),
            "output_tokens": sum(each.output_tokens for each in completions),
            "reasoning_tokens": sum(each.reasoning_tokens for each in completions),
            "infer_s": sum(each.infer_s for each in completions),
        }

    def _text(self) -> str | None:
        """The raw replies: as it is of a single conversation, lines and their pieces otherwise."""
        if self._lines is None:
            return self.conversations[0].reply() if self.conversations else None
        return "\n".join(" ".join(conversation.reply() or "" for conversation in pieces) for _, pieces in self._lines)

    def _reasoning(self) -> str | None:
        """Before the answer, where the task keeps it; of a unit's lines, one after the other."""
        steps = [step for conversation in self.conversations if (step := conversation.chosen()) is not None]
        thoughts = [step.completion.reasoning for step in steps if step.completion.reasoning is not None]
        return clean_text("\n\n".join(thoughts)) if self.task.reasoning_column and thoughts else None

    def _finish_reason(self) -> str | None:
        """`length` when any reply was cut."""
        reasons = {
            step.completion.finish_reason for conversation in self.conversations for step in conversation.answers()
        }
        return "length" if "length" in reasons else "stop" if reasons else None

    def _attempts(self) -> list[dict[str, Any]] | None:
        """Every exchange of a single conversation that took more than one."""
        if self._lines is not None or not self.conversations or len(self.conversations[0].history) < 2:
            return None
        return [
            {
                "note": step.request.note,
                "text": clean_text(step.completion.text),
                "finish_reason": step.completion.finish_reason,
                "prompt_tokens": step.completion.prompt_tokens,
                "output_tokens": step.completion.output_tokens,
            }
            for step in self.conversations[0].history
        ]

    def _outcome(
        self, unreadable: dict[str, Any] | None
    ) -> tuple[str, dict[str, Any] | None, Any, dict[str, Any] | None]:
        """Status, error, result and verified of the row."""
        if unreadable is not None:
            return "unreadable_input", unreadable, None, None
        if self._fault is not None:
            return "unreadable_input", asdict(self._fault), None, None
        if self.values is None:
            wants = ", ".join(self.task.required_parameters())
            failure = Failure(
                "infer", "no_value", f"the row of the input table lacks a value: the prompt takes {wants}"
            )
            return "unreadable_input", asdict(failure), None, None
        for number, conversation in enumerate(self.conversations, start=1):
            if (fault := conversation.failure()) is not None:
                if fault.kind == "no_value":
                    return "unreadable_input", asdict(fault), None, None
                if self._lines is not None:
                    fault = replace(fault, message=f"part {number} of {len(self.conversations)}: {fault.message}")
                return "engine_failed", asdict(fault), None, None
        assert self._view is not None
        try:
            parsed = self._parsed(self._view)
        except Exception as error:  # noqa: BLE001  the row's boundary: a parser may do anything
            parsed = error
        checked = check_reply(self.task, self._view, self._text() or "", parsed, cut=self._finish_reason() == "length")
        status = "ok" if checked.failure is None else "invalid_output"
        return status, asdict(checked.failure) if checked.failure else None, checked.result, checked.verified

    def _parsed(self, view: View) -> Any:
        if self._lines is None:
            return self.task.parse(self.conversations[0].reply() or "", view)
        assert self.task.parse_lines is not None
        read = tuple(
            (line, tuple(conversation.reply() or "" for conversation in pieces)) for line, pieces in self._lines
        )
        return self.task.parse_lines(read, view)


def _most_tokens(piece: Picture) -> int:
    """Bound of a reply about a piece of a line: no script has more than that in a token's square of the picture."""
    return 16 + 6 * (piece.width_px * piece.height_px // 1024)


class Conversation:
    """The loop of one task over one unit, or over a piece of it: what was asked and what came back."""

    def __init__(
        self, task: Task, name: str, unit: Unit, label: Mapping[str, str], most_tokens: int | None = None
    ) -> None:
        self.task = task
        self.name = name
        self.history: tuple[Step, ...] = ()
        self._unit = unit
        self._label = label
        self._most_tokens = most_tokens
        self._failure: Failure | None = None
        self._chosen: Step | None = None

    def next(self) -> Request | None:
        if self._failure is not None:
            return None
        try:
            request = self.task.next(self.task, self._unit, self.history)
        except InputError as error:  # a value of the prompt is none that the task knows
            self._failure = Failure("infer", error.kind, str(error))
            return None
        except Exception as error:  # noqa: BLE001  the row's boundary: a task's own code may do anything
            self._failure = Failure("infer", "internal", f"task {self.task.name}: {error!r}")
            return None
        if request is not None and self._most_tokens is not None:
            most = min(request.sampling.max_tokens, self._most_tokens)
            request = replace(request, sampling=replace(request.sampling, max_tokens=most))
        return request

    def receive(self, request: Request, answer: Completion | Failure) -> None:
        if isinstance(answer, Failure):
            self._failure = answer
        else:
            self.history += (Step(request, answer),)

    def label(self) -> tuple[tuple[str, str], ...]:
        return (*self._label.items(), ("step", str(len(self.history))))

    def chosen(self) -> Step | None:
        """The step that holds the answer of the ended loop."""
        if not self.history:
            return None
        if self._chosen is None:
            try:
                self._chosen = self.history[self.task.choose(self.task, self._unit.view, self.history)]
            except Exception:  # noqa: BLE001  the row's boundary: a task's own code may do anything
                self._chosen = self.history[-1]
        return self._chosen

    def answers(self) -> tuple[Step, ...]:
        """The steps whose replies are what `reply` says."""
        if self.task.gather is not None:
            return self.history
        step = self.chosen()
        return (step,) if step is not None else ()

    def reply(self) -> str | None:
        if self.task.gather is not None and self.history:
            try:
                return clean_text(self.task.gather(self._unit, self.history))
            except Exception as error:  # noqa: BLE001  the row's boundary: a task's own code may do anything
                self._failure = Failure("infer", "internal", f"task {self.task.name}: {error!r}")
                return None
        step = self.chosen()
        if step is None:
            return None
        said = step.completion.text
        if self.task.reasoning_in_reply and step.completion.reasoning is not None:
            said = f"<think>{step.completion.reasoning}</think>\n\n{said}"
        return clean_text(said)

    def failure(self) -> Failure | None:
        if self._failure is None and not self.history:
            return Failure("infer", "internal", f"task {self.task.name} asked nothing")
        return self._failure


def clean_text(text: str) -> str:
    """Text that Arrow can hold: a lone surrogate becomes U+FFFD."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text
