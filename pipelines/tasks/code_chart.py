"""Write the matplotlib program that draws the chart in a picture. It is read, never run."""

from __future__ import annotations

from pipelines.replies.code import CODE, PYTHON, read_code
from schemas.request import Sampling
from schemas.task import ParsedReply, Task, View


def parse(text: str, view: View) -> ParsedReply:  # noqa: ARG001
    return read_code(text, PYTHON)


TASK = Task(
    name="code_chart",
    summary="the matplotlib program that draws the chart in a picture",
    unit_kinds=("page", "image"),
    prompt="Convert this chart image to Python matplotlib code that can reproduce the chart.",
    output=CODE,
    # docs/facts/qwen3-vl.md §2.7
    sampling=Sampling(temperature=0.8, max_tokens=16_384),
    parse=parse,
    code_check="python",
)
