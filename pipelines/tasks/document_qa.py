"""A question about a whole document, all its pages in one prompt; the column `question` says which."""

from __future__ import annotations

import unicodedata
from typing import Any

from pipelines.replies.citations import MOST_PAGES, cited_pages
from pipelines.replies.thinking import final_answer, split_thinking
from schemas.errors import InvalidOutput
from schemas.output import TEXT_OR_NULL, Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, Task, View


def parse(text: str, view: View) -> dict[str, Any]:  # noqa: ARG001
    reasoning, answer = split_thinking(unicodedata.normalize("NFC", text))
    if not answer:
        raise InvalidOutput("the reply ends before it answers" if reasoning else "the reply is empty")
    return {"answer": answer, "short_answer": final_answer(answer), "pages": cited_pages(answer)}


def verify(value: Any, view: View) -> CheckResult:
    """Cited pages must exist, and some must be cited."""
    pages = value["pages"]
    faults = [] if pages else ["not_cited"]
    if view.page_count is not None and any(page > view.page_count for page in pages):
        faults.append("no_page")
    return CheckResult(tuple(faults))


TASK = Task(
    name="document_qa",
    summary="the answer to a question about a whole document, with the pages it rests on",
    unit_kinds=("document",),
    prompt=(
        "{question}\n\nThe images are the pages of one document in order; the first image is page 1. Name the pages "
        'that your answer rests on, as [page N]. End with a line "Answer:" and the answer in a few words.'
    ),
    output=Output(
        record(
            answer={"type": "string", "minLength": 1},
            short_answer=TEXT_OR_NULL,  # what the reply marks as final
            # cited pages, from 1, by their place in the document
            pages=list_of({"type": "integer", "minimum": 1, "maximum": MOST_PAGES}),
        )
    ),
    sampling=Sampling(max_tokens=4096),
    parse=parse,
    verify=verify,
    reasoning_in_reply=True,
)
