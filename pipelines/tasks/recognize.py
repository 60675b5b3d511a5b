"""Say what is in a picture: names in one or more languages, with boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from operators.checks.refusals import cannot_say
from pipelines.replies.elements import fenced
from pipelines.replies.grounded import BBOX_PX_OR_NULL, PLACED, box_faults, clean, read_grounded
from pipelines.replies.things import plain_key, settle
from pipelines.replies.thinking import split_thinking
from schemas.errors import InvalidOutput
from schemas.output import TEXT_OR_NULL, Output, list_of, record
from schemas.request import Sampling
from schemas.task import CheckResult, ParsedReply, Task, View

_CODES = {
    "arabic": "ar", "chinese": "zh", "dutch": "nl", "english": "en", "french": "fr", "german": "de", "greek": "el",
    "hebrew": "he", "hindi": "hi", "indonesian": "id", "italian": "it", "japanese": "ja", "korean": "ko",
    "latin": "la", "polish": "pl", "portuguese": "pt", "russian": "ru", "spanish": "es", "swedish": "sv",
    "thai": "th", "turkish": "tr", "ukrainian": "uk", "vietnamese": "vi",
}  # fmt: skip
_LANGUAGES = (*_CODES, *_CODES.values(), "cn")
_NAME_KEYS = {
    **{f"name_{language}": language for language in _LANGUAGES},
    **{f"{language}_name": language for language in _LANGUAGES},
    **{language: language for language in _CODES},
    **{key: code for code, word in (("zh", "中文"), ("en", "英文")) for key in (f"{word}名", f"{word}名称", word)},
}

_KIND = replace(
    PLACED, words=("name", *PLACED.words), keys=("names", *PLACED.words[:3], *_NAME_KEYS), texts=True, prose=False
)


def parse(text: str, view: View) -> ParsedReply:
    """A list of {"bbox_2d": […], "name_zh": "…", "name_en": "…"}, or prose where the prompt asks for no list.

    Names may also stand together, {"names": {"zh": "…"}}, or alone as "name" or "label": then of no known language.
    """
    grounded = read_grounded(text, view, kind=_KIND, needs_place=False)
    objects = []
    dropped = grounded.dropped
    for thing in grounded.values:
        if names := _names(thing.element):
            objects.append({"names": names, "bbox_px": thing.bbox_px})
        else:
            dropped += 1
    things, answer = grounded.things, None
    _, words = split_thinking(text)
    if not objects and not words:
        raise InvalidOutput("the reply is empty")
    if not objects and (dropped or things.cut or things.unread or cannot_say(words)):
        settle(words, things, 0, dropped, "names", grounded.faults)
    if not objects:
        body = next(fenced(words), words)
        answer = clean(words) if any(char.isalpha() for char in body) and not things.empty else None
    return ParsedReply({"objects": objects, "answer": answer}, dropped, things.cut, grounded.faults)


def _names(element: dict[str, Any]) -> list[dict[str, str | None]]:
    together = element.get("names", element.get("name"))
    named: list[tuple[str | None, Any]] = [(_NAME_KEYS.get(plain_key(key)), value) for key, value in element.items()]
    named = [(language, value) for language, value in named if language is not None]
    if isinstance(together, dict):
        named += list(together.items())
    elif named and isinstance(together, str) and together not in (value for _, value in named):
        named.append((None, together))
    if not named:
        named = [(None, element.get(key)) for key in PLACED.words]
    return [
        {"language": None if language is None else _code(language), "name": name}
        for language, value in named
        if (name := clean(value))
    ]


def _code(language: str) -> str:
    """ISO 639-1 where we know it, else as the model wrote it."""
    language = language.strip().lower()
    return "zh" if language == "cn" else _CODES.get(language, language)


def verify(value: Any, view: View) -> CheckResult:  # noqa: ARG001
    return CheckResult(box_faults([thing["bbox_px"] for thing in value["objects"]]))


TASK = Task(
    name="recognize",
    summary="what is in a picture, by name in several languages, with boxes",
    unit_kinds=("image",),
    prompt="Identify {what} in the image and return their bounding box and {languages} name in JSON format.",
    parameters={"what": "all objects", "languages": "Chinese and English"},
    list_parameters=("what", "languages"),
    output=Output(
        record(
            objects=list_of(
                record(
                    # language: ISO 639-1; null where the reply does not say
                    names=list_of(record(language=TEXT_OR_NULL, name={"type": "string"})),
                    bbox_px=BBOX_PX_OR_NULL,  # x0, y0, x1, y1 in pixels of the original
                )
            ),
            answer=TEXT_OR_NULL,  # the reply, where it is prose and no list
        )
    ),
    sampling=Sampling(max_tokens=4096),
    parse=parse,
    verify=verify,
)
