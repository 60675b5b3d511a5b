"""One request of a task about one unit, from the first question to the columns of its row.
Knows nothing of engines; what is asked and what comes back passes through `Conversation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from operators.checks.check_reply import check_reply
from schemas.errors import Failure, InputError
from schemas.request import Completion, Request
from schemas.task import Reply, Step, Task, Unit, View, last_reply


class UnitRequest:
    """What is asked, and the row that it comes to.

    unit: None when it could not be read. values: what the prompt takes from the input table, None when the table
    lacks it. name: a prefix of request ids. label: what the request is about. fault: why it cannot be asked although
    the unit can be read. conversation: None where nothing can be asked.
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
        self.conversation: Conversation | None = None
        self._fault = fault
        if unit is not None and values is not None and fault is None:
            unit = replace(unit, view=replace(unit.view, parameters=values))
            self.conversation = Conversation(task, unit, name, label)

    def columns(self, unreadable: dict[str, Any] | None) -> dict[str, Any]:
        """What the request gives to its row: status, error, result, replies, checks, cost.

        unreadable: the error struct of a unit that could not be read.
        """
        history = self.conversation.history if self.conversation is not None else ()
        reply = self.conversation.reply() if self.conversation is not None else None
        status, failure, result, verified = self._outcome(unreadable, reply)
        return {
            "status": status,
            "error": failure,
            "result": result,
            "text": None if reply is None else reply.text,
            "reasoning": None if reply is None else self._reasoning(reply),
            "finish_reason": None if reply is None else _finish_reason(reply),
            "attempts": self._attempts(),
            "verified": verified,
            "prompt_tokens": sum(step.completion.prompt_tokens for step in history),
            "output_tokens": sum(step.completion.output_tokens for step in history),
            "reasoning_tokens": sum(step.completion.reasoning_tokens for step in history),
            "infer_s": sum(step.completion.infer_s for step in history),
        }

    def _reasoning(self, reply: Reply) -> str | None:
        """Before the reply, where the task keeps it: of what was asked together one after the other, else the last."""
        assert self.conversation is not None
        steps = reply.steps if self.conversation.together else reply.steps[-1:]
        texts = [step.completion.reasoning for step in steps if step.completion.reasoning is not None]
        return "\n\n".join(texts) if self.task.reasoning_column and texts else None

    def _attempts(self) -> list[dict[str, Any]] | None:
        """Every exchange of a conversation of more than one round."""
        if self.conversation is None or self.conversation.rounds < 2 or len(self.conversation.history) < 2:
            return None
        return [
            {
                "note": step.request.note,
                "text": step.completion.text,
                "finish_reason": step.completion.finish_reason,
                "prompt_tokens": step.completion.prompt_tokens,
                "output_tokens": step.completion.output_tokens,
            }
            for step in self.conversation.history
        ]

    def _outcome(
        self, unreadable: dict[str, Any] | None, reply: Reply | None
    ) -> tuple[str, dict[str, Any] | None, Any, dict[str, Any] | None]:
        """Status, error, result and verified of the row."""
        if unreadable is not None:
            return "unreadable_input", unreadable, None, None
        if self._fault is not None:
            return "unreadable_input", asdict(self._fault), None, None
        if self.conversation is None:
            names = ", ".join(self.task.required_parameters())
            failure = Failure(
                "infer", "no_value", f"the row of the input table lacks a value: the prompt takes {names}"
            )
            return "unreadable_input", asdict(failure), None, None
        if (failed := self.conversation.failure) is not None:
            status = "unreadable_input" if failed.kind == "no_value" else "engine_failed"
            return status, asdict(failed), None, None
        assert reply is not None
        view = self.conversation.unit.view
        parsed = _parsed(self.task, reply, view)
        checked = check_reply(self.task, view, reply.text, parsed, cut=_finish_reason(reply) == "length")
        status = "ok" if checked.failure is None else "invalid_output"
        return status, asdict(checked.failure) if checked.failure else None, checked.result, checked.verified


def _finish_reason(reply: Reply) -> str | None:
    """`length` when any step of the reply was cut."""
    reasons = {step.completion.finish_reason for step in reply.steps}
    return "length" if "length" in reasons else "stop" if reasons else None


def _parsed(task: Task, reply: Reply, view: View) -> Any:
    """The value, or the exception that the parser raised."""
    try:
        return task.parse(reply.text, view) if reply.parse is None else reply.parse(view)
    except Exception as error:  # noqa: BLE001  the row's boundary: a parser may do anything
        return error


class Conversation:
    """The loop of one task over one unit: what was asked and what came back, round by round.

    failure: why it ended early. together: the last round was of several requests (or of none), not of one.
    """

    def __init__(self, task: Task, unit: Unit, name: str, label: Mapping[str, str]) -> None:
        self.task = task
        self.unit = unit
        self.history: tuple[Step, ...] = ()
        self.rounds = 0
        self.together = False
        self.failure: Failure | None = None
        self._name = name
        self._label = label
        self._round: tuple[Request, ...] = ()
        self._answers: dict[str, Completion | Failure] = {}  # of this round, by request id

    def next(self) -> tuple[Request, ...]:
        """The requests to ask now, with id and label; none when the loop has ended or its round has not come back."""
        if self.failure is not None or self._round:
            return ()
        try:
            asked = self.task.next(self.task, self.unit, self.history)
        except InputError as error:  # a value of the prompt is none that the task knows
            self.failure = Failure("infer", error.kind, str(error))
            return ()
        except Exception as error:  # noqa: BLE001  the row's boundary: a task's own code may do anything
            self.failure = self._internal(error)
            return ()
        if asked is None:
            if not self.rounds:
                self.failure = Failure("infer", "internal", f"task {self.task.name} asked nothing")
            return ()
        label = (*self._label.items(), ("step", str(self.rounds)))
        self.together = isinstance(asked, tuple)
        self._round = tuple(
            replace(request, request_id=f"{self._name}/{part}/{self.rounds}", label=label)
            for part, request in enumerate(asked if isinstance(asked, tuple) else (asked,))
        )
        self.rounds += 1
        return self._round

    def receive(self, request: Request, answer: Completion | Failure) -> None:
        """Once for each request of the round, in any order. The first that failed, in the round's order, is why the
        loop ends; what came back beside it counts all the same."""
        self._answers[request.request_id] = answer
        if len(self._answers) < len(self._round):
            return
        for part, asked in enumerate(self._round):
            answer = self._answers[asked.request_id]
            if isinstance(answer, Completion):
                self.history += (Step(asked, _clean(answer), part),)
            elif self.failure is None:
                place = f"part {part + 1} of {len(self._round)}: " if self.together else ""
                self.failure = replace(answer, message=place + answer.message)
        self._round, self._answers = (), {}

    def reply(self) -> Reply | None:
        """What the ended loop came to; None where nothing came back. Where the task cannot say, that is a failure, and
        the last reply stands for it."""
        if not self.history and not self.together:
            return None
        try:
            reply = self.task.reply(self.task, self.unit, self.history)
        except Exception as error:  # noqa: BLE001  the row's boundary: a task's own code may do anything
            self.failure = self.failure or self._internal(error)
            return last_reply(self.task, self.unit, self.history) if self.history else None
        return replace(reply, text=clean_text(reply.text))

    def _internal(self, error: Exception) -> Failure:
        return Failure("infer", "internal", f"task {self.task.name}: {error!r}")


def _clean(completion: Completion) -> Completion:
    reasoning = None if completion.reasoning is None else clean_text(completion.reasoning)
    return replace(completion, text=clean_text(completion.text), reasoning=reasoning)


def clean_text(text: str) -> str:
    """Text that Arrow can hold: a question mark for each lone surrogate."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text
