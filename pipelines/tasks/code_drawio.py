"""Draw a diagram again in the format of Draw.io, mxGraph XML."""

from __future__ import annotations

from pipelines.replies.code import CODE, DRAWIO, read_code
from schemas.request import Sampling
from schemas.task import ParsedReply, Task, View


def parse(text: str, view: View) -> ParsedReply:  # noqa: ARG001
    return read_code(text, DRAWIO)


TASK = Task(
    name="code_drawio",
    summary="a diagram as mxGraph XML, the format of Draw.io",
    unit_kinds=("page", "image"),
    prompt=(
        "Convert this diagram to Draw.io XML. Output one mxGraphModel in which every shape is an mxCell with its text, "
        "style and mxGeometry, and every connection is an mxCell whose source and target are the ids of the shapes."
    ),
    output=CODE,
    # docs/facts/qwen3-vl.md §2.7
    sampling=Sampling(temperature=0.8, max_tokens=16_384),
    parse=parse,
    code_check="drawio",
)
