"""Solve the problem in a picture step by step, with the final answer extracted; for Thinking checkpoints."""

from __future__ import annotations

import unicodedata
from typing import Any

from pipelines.replies.thinking import final_answer, last_line, split_thinking
from schemas.errors import InvalidOutput
from schemas.output import TEXT_OR_NULL, Output, record
from schemas.request import Sampling
from schemas.task import CheckResult, Task, View


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    """`answer` is what is marked as final; without a mark, the last line (the check tells)."""
    reasoning, solution = split_thinking(unicodedata.normalize("NFC", text))
    final = final_answer(solution)
    answer = final or last_line(solution)
    if not answer:
        raise InvalidOutput("the reply ends before it answers" if reasoning else "the reply is empty")
    return {"answer": answer, "final": final is not None, "solution": solution, "thinking": reasoning}


def verify(value: Any, view: View) -> CheckResult:  # noqa: ARG001
    return CheckResult(() if value["final"] else ("not_final",))


TASK = Task(
    name="solve",
    summary="the solution of the problem in a picture, and its final answer",
    unit_kinds=("page", "image"),
    prompt=("Solve the problem in the image. Reason step by step, and put your final answer within \\boxed{}."),
    output=Output(
        record(
            answer={"type": "string", "minLength": 1},
            final={"type": "boolean"},  # the reply marks it as its final answer
            solution={"type": "string"},
            thinking=TEXT_OR_NULL,  # of Thinking checkpoints
        )
    ),
    # docs/facts/qwen3-vl.md §3: Thinking checkpoints circle when they are greedy
    sampling=Sampling(temperature=1.0, top_p=0.95, top_k=20, max_tokens=16_384),
    parse=parse,
    verify=verify,
    reasoning_in_reply=True,
)
