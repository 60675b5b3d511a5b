"""Multiple choice: the options that a question offers, and which of them an answer takes."""

from __future__ import annotations

import re
import unicodedata

from pipelines.replies.thinking import final_answer, last_line, unwrapped

_OPTION = re.compile(
    r"(?:(?<=[\s:;,.?!])|^)\(?([A-J])[.):：、]\s*(\S.*?)(?=[\s;,.]\(?[A-J][.):：、]\s*\S|\n|$)", re.DOTALL
)
_ORDER = re.compile(
    r"[.;]\s+(?:please|answer|choose|select|respond|reply|give|output|only)\b.*", re.IGNORECASE | re.DOTALL
)
_LETTER = r"[*_(\[\"'`$]{0,4}([A-Ja-j])(?!\w|'\w)[*_)\]\"'`$]{0,4}"
_MARKED = re.compile(
    r"\b(?:options?|choices?|answers?)\s*(?:is|are|would\s+be|must\s+be|should\s+be|[:：=])\s*(?:(?:the\s+)?(?:option|choice|letter)\s*)?"
    rf"{_LETTER}"
    rf"|\b(?:option|choice|letter)\s+{_LETTER}"
    r"|(?<![A-Za-z])([A-J])\s*(?:选项|项)"
    rf"|(?:答案|选项|选择|应选|故选|选)\s*(?:是|为)?\s*[:：]?\s*{_LETTER}"
    r"|\b(?:so|thus|hence|therefore|it\s+is|it's|it\s+must\s+be|i\s+(?:choose|pick|select|would\s+say|say|think|go\s+with)|go\s+with|choose|"
    rf"select)\s*[,:]?\s*(?:(?:it\s+is|it's|option|the\s+answer\s+is)\s+)?{_LETTER}"
    rf"|(?:^|(?<=[\s(\[*])){_LETTER}\s*(?:\.\s*[^.\n]{{1,60}}\s+)?(?:is|was)\s+(?:the\s+)?(?:most\s+)?(?:correct|right|best|answer)"
    rf"|\bis\s+{_LETTER}\W*$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\s+(\w+)")
_AFTER_A_LETTER = frozenset(
    (
        "because",
        "since",
        "as",
        "and",
        "or",
        "not",
        "is",
        "was",
        "in",
        "with",
        "which",
        "due",
        "for",
        "but",
        "rather",
        "instead",
        "here",
    )
)
_DENIED = re.compile(
    r"(?:\bnot|n't|\brather\s+than|\binstead\s+of|\bexcept|不是|不选|而非)\s*(?:\b(?:be|option|choice|the\s+answer|answer)\b\s*)*$",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"^[*_)\]\s]*(?:\.\s*[^.\n]{1,60}?)?\s*(?:is|was|seems|looks|are)\s*(?:not|n't|incorrect|wrong|false|ruled\s+out|eliminated)",
    re.IGNORECASE,
)
_BOTH = re.compile(r"^\s*(?:and|or|&|/|,|、|和|或)\s*[*(\[]{0,3}([A-J])(?![\w'])")
_BARE = re.compile(rf"\W*{_LETTER}\W*")
_BEGINS = re.compile(r"[\s*_(\[\"']*([A-J])(?:[.):：、,，]|\s*[-–—]|\]|\*\*|$)")


def options_in(question: str) -> dict[str, str]:
    """{"A": "chair", …}: options that are lettered from A on without a gap; empty when there are no two."""
    options: dict[str, str] = {}
    for match in _OPTION.finditer(question):
        if match[1] == chr(ord("A") + len(options)):
            options[match[1]] = _ORDER.sub("", match[2]).strip().rstrip(".;,").strip()
    return options if len(options) >= 2 else {}


def choice_of(answer: str, options: dict[str, str]) -> str | None:
    """The letter that an answer settles on: what it marks as final, else the last that it calls its choice, else how it
    begins or ends, else the option that it names in words; None where it takes none of them, or more than one."""
    answer = unicodedata.normalize("NFKC", answer).strip()
    final = final_answer(answer)
    if final is not None and (letter := _letter(final, options)) is not None:
        return letter
    marked = _marked(answer, options)
    if marked is not None:
        return marked or None
    for line in (answer, last_line(answer)):
        if (letter := _letter(line, options)) is not None:
            return letter
    for place in (final or "", last_line(answer), answer):
        spoken = [letter for letter, option in options.items() if _speaks(place, option)]
        if len(spoken) == 1:
            return spoken[0]
    return None


def _letter(text: str, options: dict[str, str]) -> str | None:
    """Of a text that is a letter, a letter and what it stands for, or an option's own words."""
    text = unwrapped(text)
    text = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", text)
    if (bare := _BARE.fullmatch(text)) is not None:
        return bare[1].upper() if bare[1].upper() in options else None
    if (
        named := re.fullmatch(rf"\W*(?:option|choice|选项?)\s*{_LETTER}(?:[.:,)].{{0,80}})?\W*", text, re.IGNORECASE)
    ) is not None:
        return named[1].upper() if named[1].upper() in options else None
    for letter, option in options.items():
        if text.strip(" .*\"'").casefold() == option.casefold():
            return letter
    begins = _BEGINS.match(text)
    if begins is None or begins[1] not in options or _BOTH.match(text[begins.end(1) :]):
        return None
    others = {match[1] for line in text.splitlines()[1:] if (match := _BEGINS.match(line)) is not None}
    return None if others & options.keys() - {begins[1]} else begins[1]  # else it goes through them


def _marked(answer: str, options: dict[str, str]) -> str | None:
    """The last letter that is called the choice; "" where two are; None where none is."""
    last: str | None = None
    for match in _MARKED.finditer(answer):
        place = next(number for number, group in enumerate(match.groups(), 1) if group)
        letter = match[place].upper()
        goes_on = _GOES_ON.match(answer, match.end(place))
        if (
            goes_on is not None
            and goes_on[1].lower() not in _AFTER_A_LETTER
            and (letter == "A" or match[place].islower())
        ):
            continue  # an article
        if letter not in options or _DENIED.search(
            answer[max(0, match.start(place) - 40) : match.start(place)].rstrip("*_([\"'`$ ")
        ):
            continue
        if _WRONG.match(answer[match.end(place) : match.end(place) + 90]):
            continue
        both = _BOTH.match(answer[match.end(place) : match.end(place) + 20])
        last = "" if both and both[1] in options else letter
    return last


def _speaks(text: str, option: str) -> bool:
    for match in re.finditer(rf"(?<!\w){re.escape(option)}(?!\w)", text[:20_000], re.IGNORECASE):
        if _DENIED.search(re.sub(r"\b(?:an?|the)\s*$", "", text[max(0, match.start() - 40) : match.start()])) is None:
            return True
    return False
