"""Write the HTML, CSS and JavaScript of the page in a screenshot, sketch or screen recording."""

from __future__ import annotations

from operators.checks.page_check import text_faults
from pipelines.replies.code import CODE, HTML, read_code
from schemas.request import Sampling
from schemas.task import ParsedReply, Task, View


def parse(text: str, view: View) -> ParsedReply:  # noqa: ARG001
    return read_code(text, HTML)


TASK = Task(
    name="code_html",
    summary="the page in a screenshot, sketch or screen recording as one HTML file",
    unit_kinds=("page", "image", "clip"),
    prompt="Analyze this screenshot and convert it to clean, functional and modern HTML code.",
    prompts={
        "clip": (
            "This video is a screen recording of a web page in use. Analyze it and write clean, functional and modern "
            "HTML code, with its CSS and JavaScript in the same file, that looks like the page and behaves as it does."
        )
    },
    output=CODE,
    # docs/facts/qwen3-vl.md §2.7
    sampling=Sampling(temperature=0.8, max_tokens=16_384),
    parse=parse,
    code_check="html",
    verify_shown=text_faults,
)
