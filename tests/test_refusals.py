"""Replies that decline are no answers, whatever was asked for and whatever stands around them; and a text that holds
such words is none of them. The replies are of our own making."""

from __future__ import annotations

import pytest

from operators.checks.check_reply import check_reply
from operators.checks.refusals import declines
from pipelines.catalogue import find
from schemas.task import View
from tests.support.read_replies import LISTS, checked

REFUSED = (
    "I am sorry, but I cannot help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I cannot determine 3D boxes.",
    "I'm sorry, I can't read this.",
    "I'm unable to identify people in images.",
    "As an AI language model, I cannot view images.",
    "It is not possible to determine the coordinates from this picture.",
    "抱歉，我无法识别这张图片。",
    "我无法确定三维边界框。",
    "I don't see any image attached. Please upload the image.",
    "I cannot provide exact coordinates. []",
)


@pytest.mark.parametrize("task", LISTS)
@pytest.mark.parametrize("reply", REFUSED)
def test_a_refusal_is_no_empty_list(task: str, reply: str) -> None:
    row = checked(task, reply)
    assert row.failure is not None
    assert (row.failure.kind, "refused" in row.verified["faults"], row.verified["ok"]) == ("refused", True, False)


@pytest.mark.parametrize(
    "reply",
    [
        "To provide 3D boxes I would need the camera's intrinsics, which are not available.",
        "The depth of the scene is not known, so there is no way to tell.",
    ],
)
def test_what_would_be_needed_is_no_empty_list(reply: str) -> None:
    row = checked("ground_3d", reply)
    assert row.failure is not None
    assert row.failure.kind == "refused"


REFUSALS = (
    "I am sorry, but I cannot help with that.",
    "I'm sorry, I can't read this.",
    "I’m sorry, but I can’t assist with that request.",
    "As an AI language model, I cannot view images.",
    "The image is too blurry to read.",
    "抱歉，我无法识别这张图片。",
    "I don't have the ability to see or process images directly.",
    "I am not able to view or analyze the picture.",
)


ANSWERS = (
    "Sorry, we're closed.",
    "\"I'm sorry, I can't help with that.\" — HAL",
    "HAL: I'm sorry, Dave. I can't do that.",
    "A sign says \"I'm sorry, I can't help with that.\"",
    "I'm sorry I cannot come to your party.",
    "I'm sorry, I can't read the small print, but the heading says: OPENING HOURS",
    "We cannot accept cards.",
    "Please read the instructions before use.",
    "Please upload your documents here",
    "A form asks users to please upload their picture.",
    "I can't help but notice the red boat in the harbor.",
    "I'm sorry, I can't help you with that, said the clerk.",
    "The document does not say who wrote it.",
)


@pytest.mark.parametrize(
    "task", ["ocr", "parse_document", "caption", "caption_dense", "text", "document_qa", "video_qa", "solve", "spatial"]
)
@pytest.mark.parametrize("reply", REFUSALS)
def test_a_refusal_is_no_answer(task: str, reply: str) -> None:
    assert "refused" in checked(task, reply).verified["faults"]
    assert "refused" in checked(task, f"<think>Can I?</think>{reply}").verified["faults"]


@pytest.mark.parametrize("reply", ANSWERS)
def test_words_of_regret_are_no_refusal(reply: str) -> None:
    assert not declines(reply)
    assert "refused" not in checked("caption", reply).verified["faults"]


def test_a_page_that_says_so_is_read() -> None:
    says = "I'm sorry, I can't help with that."
    page = find("ocr")
    for layer, refused in ((f"Customer: hello\n{says}", False), ("Opening hours", True), (None, True)):
        view = View("page", 0, 100, 100, text_layer=layer)
        assert (
            "refused" in check_reply(page, view, says, page.parse(says, view), cut=False).verified["faults"]
        ) is refused
    assert "refused" not in checked("parse_document", f'<p data-bbox="0 0 9 9">{says}</p>').verified["faults"]


def test_refusals_of_typed_tasks_fail_with_their_fault() -> None:
    for task in ("locate_moment", "gui_action", "caption_structured"):
        row = checked(task, "I'm sorry, but I can't help with that.")
        assert "refused" in row.verified["faults"], task
        assert row.failure is not None
        assert row.failure.kind == "refused"
