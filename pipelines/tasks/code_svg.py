"""Draw a picture, sketch or icon again as SVG."""

from __future__ import annotations

from operators.checks.page_check import text_faults
from pipelines.replies.code import CODE, SVG, read_code
from schemas.request import Sampling
from schemas.task import ParsedReply, Task, View


def parse(text: str, view: View) -> ParsedReply:  # noqa: ARG001
    return read_code(text, SVG)


TASK = Task(
    name="code_svg",
    summary="a picture, sketch or icon as SVG",
    unit_kinds=("page", "image"),
    prompt=(
        "Analyze this image and reproduce it as SVG code. Use shapes, paths and text only: no scripts, no external "
        "files and no embedded bitmaps."
    ),
    output=CODE,
    # docs/facts/qwen3-vl.md §2.7
    sampling=Sampling(temperature=0.8, max_tokens=16_384),
    parse=parse,
    code_check="svg",
    verify_shown=text_faults,
)
