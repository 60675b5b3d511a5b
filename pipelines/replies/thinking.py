"""Replies of Thinking models, parted into reasoning and answer; and what an answer marks as final."""

from __future__ import annotations

import re

from pipelines.replies.elements import json_values

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_TAG = re.compile(r"<(answer|final_answer|choice)>\s*([^<]{1,2000}?)\s*(?:</\1>|$)", re.IGNORECASE)
_MARK = re.compile(
    # a line or sentence that begins with it, and a colon: "**Final Answer:** 4", "Answer - 4"
    r"(?:^|\n|(?<=[.!?\])。])\s|\*\*|#\s)[\s*#>\-•]{0,12}(?:(?:so|thus|hence|therefore)[,\s]\s*)?(?:the\s+|"
    r"my\s+)?(?:(?:final|correct|short|best)\s+)?"
    r"(?:answer|result|ans\.?|答(?=\s*[:：]))(?:\s+is)?\s*[*_]{0,3}\s*(?:[:：=]|\s[-–—]\s)[ \t]*[*_]{0,3}[ \t]*([^\n]*)"
    # a sentence
    r"|(?:\b(?:the|my)\s+|^)(?:(?:final|correct|right|best|short|required|desired|exact)\s+)?answer(?:\s+(?:to|for)\s+[^.:\n]{1,80}?)?\s+(?:is|"
    r"would\s+be|must\s+be|should\s+be)\b\s*[:：]?[ \t]*([^\n]+)"
    r"|\bthe\s+(?:correct|right|best)\s+(?:option|choice)\s+is\b\s*[:：]?[ \t]*([^\n]+)"
    r"|\bthe\s+final\s+(?:result|value|solution)\s+is\b\s*[:：]?[ \t]*([^\n]+)"
    r"|(?:最终|正确|最后)?(?:的)?答案\s*[*_]{0,3}\s*(?:应该)?(?:是|为|选)?\s*[*_]{0,3}\s*[:：]?\s*[*_]{0,3}\s*([^\n]+)"
    r"|^\s*####\s+([^\n]+)$",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(r"^[^\n.]{0,40}?\b(?:answer|答案)(?:\s+is)?\s*[*_:：]{0,6}[ \t]*$", re.IGNORECASE | re.MULTILINE)
_END_OF_SENTENCE = re.compile(r"(?<=[.!?])[*_]{0,3}\s+(?=[A-Z\"“(*])|(?<=[。！？])(?=.)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|St|Mr|Mrs|Ms|Dr|Prof|Jr|Sr|Mt|Ft|vs|Inc|Ltd|Co|Corp|Fig|Eq|Sec|Ch|Vol|approx|"
    r"etc|e\.g|i\.e|"
    r"Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Ave|Rd|Blvd|U\.S|a\.m|p\.m)\.[*_]{0,3}$"
)
_NEXT_SENTENCE = re.compile(
    r"(?:The|This|That|These|It|It's|Let|We|I|You|To|In|As|If|Because|Since|Here|There|So|Therefore|Thus|Hence|Option|"
    r"Explanation|Note|Both|All|By|From|Using|Looking|Based)\b"
)
"""Behind an option's letter: `B. The others are near.` is no name with an initial."""
_ENDS_SHORTENED = re.compile(
    r"(?:\b[A-Za-z]\.[A-Za-z]|\b(?:St|Mr|Mrs|Ms|Dr|Prof|Jr|Sr|Mt|Ft|Inc|Ltd|Co|Corp|etc|Ave|Rd|Blvd))\.$"
)
"""At the end of an answer: a letter alone is an option, and `No.` says no."""
_IN_BRACKETS = re.compile(r"[\[【(]([^\[\]【】()]{1,100})([\]】)])[.。]?\s*$")
_CITATION = re.compile(
    r"(?=.*\d)(?=.*(?:page|\bpp?\b|image|第|:|s\b|sec))(?:[\d\s:.,;&#第页、\-–—~]|page|image|pp?\b|and|to|from|at|seconds?|s\b)+",
    re.IGNORECASE,
)
"""Where an answer stands in the document or the video. A number alone in brackets says nothing of that."""
_FILLER = re.compile(r"^(?:therefore|thus|hence|then|simply|indeed)\b[\s,:]*(?=\S)", re.IGNORECASE)
_REASON = re.compile(
    r",?\s+(?:because|since)\s+.*$|，?因为.*$|[,，]\s*(?:as|so|which)\s+.*$", re.IGNORECASE | re.DOTALL
)
_WRAPPED = (
    re.compile(r"\$\$?([^$]*)\$\$?\.?"),
    re.compile(r"\\\((.*)\\\)\.?", re.DOTALL),
    re.compile(r"\\\[(.*)\\\]\.?", re.DOTALL),
    re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit|mathit|mbox)\s*\{([^{}]*)\}\.?"),
    re.compile(r"\*{1,3}([^*]*)\*{1,3}\.?"),
    re.compile(r"`([^`]*)`\.?"),
)
_LAST_BOXES = 50


def split_thinking(reply: str) -> tuple[str | None, str]:
    """(reasoning, answer). The opening tag is part of the prompt, so often only the end is there; a
    reply that ends before its reasoning does has no answer (docs/facts/qwen3-vl.md §5)."""
    before, end, after = reply.rpartition("</think>")
    if end:
        return before.replace("<think>", "").strip() or None, after.strip()
    if "<think>" in reply:
        return reply.replace("<think>", "").strip() or None, ""
    return None, reply.strip()


def final_answer(answer: str) -> str | None:
    """What an answer marks as final: the last \\boxed{…}, <answer>…</answer>, {"answer": …}, else what stands behind
    the last `Answer:` or `the answer is`, without marks and reasons; None where there is no such mark."""
    openings = [match.end() - 1 for match in _BOXED.finditer(answer)][-_LAST_BOXES:]
    for opening in reversed(openings):
        content = _braced(answer, opening)
        if content and content.strip():
            return unwrapped(content)
    if tags := [match[2] for match in _TAG.finditer(answer)]:
        return unwrapped(tags[-1])
    if (stored := _in_json(answer)) is not None:
        return unwrapped(stored)
    last: tuple[int, str] | None = None
    for match in _MARK.finditer(answer):
        if (content := _short(next((group for group in match.groups() if group), ""))) is not None:
            last = match.start(), content
    for match in _HEADING.finditer(answer):
        following = answer[match.end() : match.end() + 2000].lstrip().partition("\n")[0]
        content = _short(following)
        if content is not None and (last is None or match.start() >= last[0]):
            last = match.start(), content
    return last[1] if last else None


def unwrapped(text: str) -> str:
    """Without what marks it up as a whole: $…$, \\text{…}, **…**, quotes; and without a stop behind it."""
    text = text.strip()
    for _ in range(4):
        before = text
        for pattern in _WRAPPED:
            if (match := pattern.fullmatch(text)) is not None and match[1].strip():
                text = match[1].strip()
        text = text.strip("*_").strip()
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].strip()
        if text == before:
            break
    if text.endswith((".", "。")) and not text.endswith("..") and _ENDS_SHORTENED.search(text) is None:
        text = text[:-1].rstrip()
    return text


def last_line(answer: str) -> str:
    """The last line that says anything."""
    lines = [line.strip() for line in answer.splitlines() if any(char.isalnum() for char in line)]
    return lines[-1] if lines else ""


def _short(text: str) -> str | None:
    """The first sentence of what stands behind a mark, without stray marks; None where it says nothing."""
    text = _uncited(text.lstrip(" \t:：="))
    for end in _END_OF_SENTENCE.finditer(text):
        option = end.start() <= 4 and _NEXT_SENTENCE.match(text, end.end())
        if option or _ABBREVIATION.search(text[max(0, end.start() - 12) : end.start()]) is None:
            text = text[: end.start()]
            break
    text = re.sub(r"(?<!\d)\*\*|\*\*(?!\d)|__", "", text)
    text = _REASON.sub("", text) if re.search(r"\b(?:because|since)\b|因为", text, re.IGNORECASE) else text
    text = unwrapped(_FILLER.sub("", text.strip().lstrip("*_").strip()))
    return text if any(map(str.isalnum, text)) else None


def _uncited(text: str) -> str:
    """Without the citations that stand behind it. In round brackets a time may belong to the answer."""
    for _ in range(8):
        start = max(0, len(text) - 120)
        cited = _IN_BRACKETS.search(text[start:])
        if cited is None or not text[: start + cited.start()].strip(" *") or _CITATION.fullmatch(cited[1]) is None:
            break
        if cited[2] == ")" and re.search(r"page|\bp|image|第", cited[1], re.IGNORECASE) is None:
            break
        text = text[: start + cited.start()].rstrip()
    return text


def _in_json(answer: str) -> str | None:
    """The answer that one JSON object of the reply names."""
    if '"' not in answer or "{" not in answer:
        return None
    for value in reversed(json_values(answer).values):
        if isinstance(value, dict):
            keys = {key.strip().lower().replace(" ", "_"): item for key, item in value.items()}
            for key in (
                "final_answer",
                "answer",
                "short_answer",
                "correct_answer",
                "choice",
                "option",
                "correct_option",
                "result",
                "答案",
            ):
                item = keys.get(key)
                if isinstance(item, (str, int, float)) and not isinstance(item, bool) and str(item).strip():
                    return str(item)
    return None


def _braced(text: str, opening: int) -> str | None:
    depth = 0
    for place in range(opening, min(len(text), opening + 4000)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[opening + 1 : place]
    return None
