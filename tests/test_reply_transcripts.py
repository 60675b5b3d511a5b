"""The text of a page without what a model says around it; and the sentence that there is none."""

from __future__ import annotations

import pytest

from tests.support.read_replies import checked


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("There is no text in the image.", ""),
        ("No text found.", ""),
        ("The image does not contain any readable text.", ""),
        ("This picture contains no text.", ""),
        ("No visible text is present in this image.", ""),
        ("图片中没有文字。", ""),
        ("No text messages while driving", "No text messages while driving"),
        ("NO PARKING", "NO PARKING"),
        ("There is no text in the image. The image shows a cat on a mat.", ""),
        ("There is no discernible text in this picture; it shows a harbor.", ""),
        ("No text messages. It is the law.", "No text messages. It is the law."),
        ("There is no text in the image, said the sign.", "There is no text in the image, said the sign."),
    ],
)
def test_the_sentence_that_there_is_no_text_is_no_text(reply: str, text: str) -> None:
    assert checked("ocr", reply).result["text"] == text


@pytest.mark.parametrize(
    "reply",
    [
        "**Transcribed text:**\n\nOpening hours\nMon-Fri",
        "The image contains the following text:\n\nOpening hours\nMon-Fri",
        "```\nOpening hours\nMon-Fri\n```\nLet me know if you need anything else!",
        "Here is the text of the page:\n```text\nOpening hours\nMon-Fri\n```\n\nNote: the last line is faint.",
        "图片中的文字如下：\n\nOpening hours\nMon-Fri",
        '{"text": "Opening hours\\nMon-Fri"}',
        '```json\n{"language": "en", "lines": ["Opening hours", "Mon-Fri"]}\n```',
    ],
)
def test_what_is_said_around_a_text_is_none_of_it(reply: str) -> None:
    assert checked("ocr", reply).result["text"] == "Opening hours\nMon-Fri"


@pytest.mark.parametrize(
    "text",
    ["The text of the law:\nNo parking", "```\nx = 1\n```\nThen press Enter.", "Transcript\nA: hello", '{"port": 80}'],
)
def test_a_page_keeps_its_words(text: str) -> None:
    assert checked("ocr", text).result["text"] == text
