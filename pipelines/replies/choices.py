"""Multiple choice: the options that a question offers, and which of them an answer takes."""

from __future__ import annotations

import re

from pipelines.replies.thinking import final_answer, last_line

_OPTION = re.compile(
    r"(?:(?<=[\s:;,.?!])|^)\(?([A-J])[.):：、]\s*(\S.*?)(?=[\s;,.]\(?[A-J][.):：、]\s*\S|\n|$)", re.DOTALL
)
_BARE = re.compile(r"[\s*(\[]*([A-J])(?:[\s*.)\]:：,、]|$)")
_NAMED = re.compile(
    r"(?i:option|choice|answer|answer\s+is|选项?|答案是?)\s*[:：]?\s*(?:[*(\[]*([A-J])\b(?!\s+[a-z])|\(([a-j])\))"
)
_ORDER = re.compile(
    r"[.;]\s+(?:please|answer|choose|select|respond|reply|give|output|only)\b.*", re.IGNORECASE | re.DOTALL
)


def options_in(question: str) -> dict[str, str]:
    """{"A": "chair", …}: options that are lettered from A on without a gap; empty when there are no two."""
    options: dict[str, str] = {}
    for match in _OPTION.finditer(question):
        if match[1] == chr(ord("A") + len(options)):
            options[match[1]] = _ORDER.sub("", match[2]).strip().rstrip(".;,").strip()
    return options if len(options) >= 2 else {}


def choice_of(answer: str, options: dict[str, str]) -> str | None:
    """The letter that an answer settles on: what it marks as final, else how it begins or ends, else the option that it
    names in words; None where it takes none of them, or more than one."""
    final = final_answer(answer)
    lines = [line for line in (final, answer.strip(), last_line(answer)) if line]
    for line in lines:
        bare = _BARE.match(line)
        if bare and bare[1] in options and (bare[1] != "A" or not re.match(r"\s*A\s+[a-z]", line)):
            return bare[1]
        for letter, text in options.items():
            if line.strip(" .*\"'").casefold() == text.casefold():
                return letter
    named = [(match[1] or match[2]).upper() for match in _NAMED.finditer(answer)]
    if named and named[-1] in options:
        return named[-1]
    for place in (final or "", answer):
        spoken = [letter for letter, option in options.items() if _speaks(place, option)]
        if len(spoken) == 1:
            return spoken[0]
    return None


def _speaks(text: str, option: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(option)}(?!\w)", text, re.IGNORECASE) is not None
