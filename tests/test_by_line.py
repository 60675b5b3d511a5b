"""A unit that comes as lines: all pieces are asked about at once, and what comes back is one row."""

from __future__ import annotations

from operators.infer.unit_request import Conversation, UnitRequest
from pipelines.catalogue import find
from schemas.errors import Failure
from schemas.request import Completion, Picture
from schemas.task import TextLine, Unit, View

PAGE = View("page", 0, 640, 640, blank=False)
SHORT, LONG = Picture(64, 32, b""), Picture(32 * 1000, 32, b"")
LINES = (TextLine((0, 0, 640, 32), (SHORT, SHORT)), TextLine((0, 64, 640, 96), (LONG,)))


def asked(lines: tuple[TextLine, ...]) -> tuple[UnitRequest, Conversation]:
    unit_request = UnitRequest(find("ocr"), Unit(PAGE, Picture(640, 640, b""), lines), {}, "r", {"task": "ocr"})
    assert unit_request.conversation is not None
    return unit_request, unit_request.conversation


def completion(text: str) -> Completion:
    return Completion(text, "stop", 2, 1, 0.5)


def test_pieces_are_asked_together_and_make_one_row() -> None:
    unit_request, conversation = asked(LINES)
    requests = conversation.next()
    assert conversation.next() == ()  # until they have come back
    assert [request.request_id for request in requests] == ["r/0/0", "r/1/0", "r/2/0"]
    assert {request.label for request in requests} == {(("task", "ocr"), ("step", "0"))}
    assert [request.sampling.max_tokens for request in requests] == [28, 28, 4096]
    for request, text in reversed(list(zip(requests, ("a ", "b", "c\udce9"), strict=True))):
        conversation.receive(request, completion(text))
    assert conversation.next() == ()
    row = unit_request.columns(None)
    assert (row["status"], row["text"], row["finish_reason"], row["attempts"]) == ("ok", "a  b\nc?", "stop", None)
    assert row["result"]["lines"] == [
        {"text": "a b", "bbox_px": [0, 0, 640, 32]},
        {"text": "c?", "bbox_px": [0, 64, 640, 96]},
    ]
    assert (row["prompt_tokens"], row["output_tokens"], row["infer_s"]) == (6, 3, 1.5)


def test_the_first_piece_that_failed_is_named_and_the_others_count() -> None:
    unit_request, conversation = asked(LINES)
    first, second, third = conversation.next()
    conversation.receive(third, Failure("infer", "timeout", "late"))
    conversation.receive(second, Failure("infer", "engine_error", "no"))
    conversation.receive(first, completion("a"))
    assert conversation.next() == ()
    row = unit_request.columns(None)
    assert (row["status"], row["text"], row["output_tokens"]) == ("engine_failed", "a \n", 1)
    assert row["error"]["message"] == "part 2 of 3: no"


def test_a_page_without_lines_is_empty_and_asks_nothing() -> None:
    unit_request, conversation = asked(())
    assert conversation.next() == ()
    row = unit_request.columns(None)
    assert (row["status"], row["text"], row["finish_reason"]) == ("ok", "", None)
    assert row["result"] == {"text": "", "script": None, "lines": []}
