"""Replies that decline are no answers, whatever was asked for and whatever stands around them; and a text that holds
such words is none of them. The replies are of our own making."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


APOLOGIES = (
    *("I'm sorry, but ", "I am sorry, ", "Sorry, ", "I apologize, but ", "My apologies, but ", "Unfortunately, "),
    *("I'm afraid ", "I’m sorry, but ", "Regrettably, ", "I'm really sorry, but "),
)
CANNOT = (
    *("I can't ", "I cannot ", "I can not ", "I'm unable to ", "I am not able to ", "I'm not able to ", "I won't "),
    *("I do not have the ability to ", "I don't have the capability to ", "I am currently unable to ", "I can’t "),
)
HELP = (
    *("help with that", "assist with this request", "view images", "read this page", "process this video"),
    *("transcribe the text in this image", "identify people in images", "describe this picture", "access the file"),
    *("comply with this request", "fulfill this request", "interpret this scan", "open the attachment"),
)
ANSWER = (
    "provide that information",
    "answer this question",
    "determine the coordinates",
    "see the image",
    "generate that",
)
ENDS = (
    *(".", "!", "", ". Is there anything else I can help with?", " at this time.", " because it may show a person."),
    *(". Please upload it again.", ", as it contains sensitive content.", ". I hope you understand."),
)
IN_OTHER_LANGUAGES = (
    *(
        "抱歉，我无法读取这张图片。",
        "对不起，我不能提供帮助。",
        "很抱歉，我无法识别图中的人物。",
        "作为一个AI助手，我无法查看视频。",
    ),
    *(
        "我无法处理这个请求。",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
        "Leider kann ich dieses Bild nicht ansehen.",
    ),
    *("Ich kann diese Datei nicht öffnen.", "Entschuldigung, ich kann den Text nicht lesen."),
)
SENTENCES = (
    st.builds("{}{}{}{}".format, *map(st.sampled_from, (APOLOGIES, CANNOT, (*HELP, *ANSWER), ENDS)))
    | st.builds("{}{}{}".format, *map(st.sampled_from, (CANNOT, HELP, ENDS)))
    | st.sampled_from(IN_OTHER_LANGUAGES)
)
MARKED = (
    "{}",
    "**{}**",
    "# {}",
    "_{}_",
    "\n\n{}\n",
    "```\n{}\n```",
    "Answer: {}",
    "**Answer:** {}",
    "<answer>{}</answer>",
)
IN_JSON = ("error", "answer", "message", "text", "description")
FREE = ("ocr", "parse_document", "caption", "caption_dense", "text", "document_qa", "video_qa", "solve", "spatial")
TYPED = (*LISTS, "locate_moment", "gui_action", "caption_structured")


@settings(max_examples=150, deadline=None)
@given(SENTENCES, st.sampled_from(MARKED), st.sampled_from(FREE), st.booleans())
def test_whoever_declines_in_words_is_never_believed(sentence: str, marked: str, task: str, thinks: bool) -> None:
    row = checked(task, f"{'<think>Can I?</think>' if thinks else ''}{marked.format(sentence)}")
    assert "refused" in row.verified["faults"]
    assert not row.verified["ok"]


@settings(max_examples=150, deadline=None)
@given(SENTENCES, st.sampled_from(MARKED), st.sampled_from(TYPED))
def test_whoever_declines_to_list_has_refused(sentence: str, marked: str, task: str) -> None:
    row = checked(task, marked.format(sentence))
    assert row.failure is not None
    assert (row.failure.kind, row.verified["ok"]) == ("refused", False)


@settings(max_examples=150, deadline=None)
@given(
    SENTENCES, st.sampled_from(IN_JSON), st.sampled_from(("{}", "```json\n{}\n```")), st.sampled_from((*FREE, *TYPED))
)
def test_whoever_declines_in_json_is_never_believed(sentence: str, key: str, around: str, task: str) -> None:
    for value in ({key: sentence}, {"status": "error", key: sentence}, [sentence], {key: sentence, "objects": []}):
        row = checked(task, around.format(json.dumps(value, ensure_ascii=False)))
        assert "refused" in row.verified["faults"], value
        assert not row.verified["ok"]


STORY = (
    "The clerk looked up from the desk and sighed. {} He shut the window. Behind it the lamps of the harbor went out "
    "one after the other, and the last ferry left without them."
)
HOLDS = (
    'The sign above the counter says "{}"',
    "A speech bubble reads: “{}”",
    "HAL: {}\n\nDAVE: Open the doors.",
    "「{}」と書いてある。",
    "The screen shows a chat. The assistant writes: {}",
    "Opening hours\nMonday 9-12\nTuesday 9-12\n{}\nWednesday closed",
    STORY,
    "# Refusals of assistants\n\nA study of 4711. Many begin alike.\n\n| reply | share |\n|---|---|\n| {} | 12% |",
    "Yours of the 4th has come. Thank you for it. {} Yours, A. Miller",
)


@settings(max_examples=150, deadline=None)
@given(
    SENTENCES, st.sampled_from(HOLDS), st.sampled_from(("ocr", "parse_document", "caption", "caption_dense", "text"))
)
def test_a_text_that_holds_a_refusal_is_none(sentence: str, holds: str, task: str) -> None:
    assert "refused" not in checked(task, holds.format(sentence)).verified["faults"]


@settings(max_examples=80, deadline=None)
@given(SENTENCES, st.sampled_from(("{}", "{}\nOpening hours", "Customer: hello\n{}")), st.sampled_from(MARKED[:3]))
def test_a_page_that_says_it_itself_is_read(sentence: str, layer: str, marked: str) -> None:
    page = find("ocr")
    view = View("page", 0, 100, 100, text_layer=layer.format(sentence))
    for reply in (marked.format(sentence), layer.format(sentence)):
        row = check_reply(page, view, reply, page.parse(reply, view), cut=False)
        assert "refused" not in row.verified["faults"]
