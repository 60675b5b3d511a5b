"""The text of a page out of a reply that should be nothing else: without a fence around it, without the sentence that
announces it, and out of an object that holds it. What the page itself says (its text layer) stays.
"""

from __future__ import annotations

import json
import re
from typing import Any

_OPENING = re.compile(r"(?:```|~~~)[^\S\n]*[\w+-]{0,20}[^\S\n]*(?:\n|$)")
_ANNOUNCES = re.compile(
    r"(?:(?:sure|certainly|of course|okay|ok)\b[^\n:：]{0,20})?"
    r"(?:(?:here\s+(?:is|are)|here['’]s|below\s+is|this\s+is|the\s+following\s+is)\b[^\n:：]{0,80}"
    r"\b(?:text|content|contents|transcription|transcript|ocr)\b[^\n:：]{0,80}"
    r"|(?:the\s+)?(?:(?:extracted|transcribed|recogni[sz]ed|visible|full)\s+text|transcription|transcript|text\s+(?:content\s+)?(?:in|of|from|on)\s+(?:the|this)\s+(?:image|picture|page|document))"
    r"\b[^\n:：]{0,60}"
    r"|(?:the|this)\s+(?:image|picture|page|document|photo|scan)\s+(?:contains|shows|has|displays|includes|reads|says)\b[^\n:：]{0,40}"
    r"\b(?:text|words)\b[^\n:：]{0,40}"
    r"|(?:以下|下面)是[^\n:：]{0,40}(?:文字|文本|内容)[^\n:：]{0,20}|(?:图片|图像|图)中的(?:文字|文本)[^\n:：]{0,20})"
    r"[:：]",
    re.IGNORECASE,
)


_CLOSES = re.compile(
    r"(?:(?:please\s+)?(?:let\s+me\s+know|feel\s+free)|if\s+you\s+(?:need|would|want|have)|I\s+hope|is\s+there\s+anything|note\s*[:,]|"
    r"(?:the|this)\s+(?:text|image|picture|page|document|transcription)\b|如果|希望|请注意|注[:：])[^\n]{0,500}",
    re.IGNORECASE,
)
"""What is said behind the text; of a reply that has a fence around it."""


_TEXT_KEYS = (
    "text",
    "content",
    "transcription",
    "transcript",
    "ocr",
    "ocr_text",
    "extracted_text",
    "full_text",
    "lines",
)


def transcript(reply: str, layer: str | None) -> str:
    """layer: the page's own text, where there is one."""
    return _held(_unfenced(reply, layer), layer)


def _unfenced(reply: str, layer: str | None) -> str:
    text = reply.strip()
    head, _, rest = text.partition("\n")
    if rest.strip() and _ANNOUNCES.fullmatch(head.strip(" *#")) and not _says(layer, head):
        text = rest.strip()
    opening = _OPENING.match(text)
    if opening is None or (layer is not None and "```" in layer):
        return text
    body = text[opening.end() :]
    closing = text[:3]
    inner, end, behind = body.rpartition(closing)
    if end and closing not in inner and _CLOSES.fullmatch(behind.strip()) and not _says(layer, behind):
        return inner.strip()
    if not end:  # the reply ends within it
        return body.strip()
    # two blocks are what the page shows, or more than its text
    return body.removesuffix(closing).strip() if not behind.strip() and closing not in inner else text


def _held(text: str, layer: str | None) -> str:
    """The text of an object of one text, {"text": "…"}; a list of texts is its lines."""
    if not text.startswith("{") or not text.endswith("}") or _says(layer, text.partition(":")[0].strip("{ \n")):
        return text
    try:
        value: Any = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
    texts = [item for key, item in value.items() if key.strip().lower() in _TEXT_KEYS]
    if len(texts) != 1 or any(isinstance(item, (dict, list)) for item in value.values() if item is not texts[0]):
        return text
    lines = texts[0] if isinstance(texts[0], list) else [texts[0]]
    return "\n".join(lines).strip() if all(isinstance(line, str) for line in lines) else text


def _says(layer: str | None, line: str) -> bool:
    return layer is not None and " ".join(line.strip(" *#").split()).casefold() in " ".join(layer.split()).casefold()
