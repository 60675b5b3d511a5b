"""Lists of things as models write them, read once for all tasks: whatever key the list stands under, bare, one alone,
each under its name, as a table or in tags; as objects with the usual keys.

What is sound JSON is walked as a whole. What is damaged is read element by element (pipelines/replies/elements.py). A
reply that lists nothing that can be read says so by `unread`, and `settle` is where such a reply fails: it is never
taken for an empty list. Knows the keys of a kind of things, nothing of pictures and times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from operators.checks.refusals import cannot_say
from pipelines.replies.boxes import numbers
from pipelines.replies.elements import JsonValues, json_values, read_elements
from pipelines.replies.nothing import says_nothing
from pipelines.replies.places import named_place, places_of
from pipelines.replies.written import fields, lines_with_places, loosened, tables, tagged
from schemas.errors import InvalidOutput

_DEEPEST = 12
_GENERIC = re.compile(
    r"(?:the_?)?(?:\w+_)?(?:objects?|detections?|results?|items?|data|elements?|predictions?|annotations?|"
    r"outputs?|answers?|"
    r"lists?|lines?|texts?|words?|box(?:es)?|bbox(?:es)?|bounding_?box(?:es)?|points?|instances?|regions?|locations?|"
    r"coordinates?|entities|things?|children|positions?|keypoints?|response|value|values|events?|frames?|places?|"
    r"bbox_?[23]d|point_?2d|box_?[23]d)(?:_?\d+)?|\d+",
    re.IGNORECASE,
)
"""Keys that say nothing of what stands under them; others are names."""
_MEASURES = re.compile(
    r"size|dim|resol|shape|scale|range|count|colou?r|rgb|conf|score|^id$|index|width|height|version|total|area|prob",
    re.IGNORECASE,
)
"""Keys of numbers that are no places."""
_CODE = re.compile(
    r"```(?:html?|css|svg|javascript|js|c|cpp|java)\b|^\s{0,20}(?:import|from)\s+\w+\s*(?:$|import|as)|<!doctype|"
    r"<html|<tool_call",
    re.IGNORECASE | re.MULTILINE,
)
"""A reply to another question: nothing of it is read but JSON."""
_TIME_KEY = re.compile(
    r"(?:frame\s+)?(?:at\s|time|t)?[\s=:]{0,2}<?\d+(?::\d+){0,2}(?:\.\d+)?\s*(?:s|secs?|seconds?|秒)?>?", re.IGNORECASE
)
_IS_THERE = ("present", "visible", "found", "exists", "detected", "in_image")
_ESCAPED = re.compile(r'[\[{]\s*\{?\s*\\"')
_NO_WORDS = ("none", "null", "n/a", "na", "not found", "not visible", "not present", "unknown", "无", "-")


@dataclass(frozen=True)
class Kind:
    """What the things of a list are known by.

    places: the key that a place is given under -> others that it may stand under. sizes: how many numbers a bare place
    has -> that key; the first is the usual one. words: keys of what a thing is called; the first is for a name that
    stands beside or above its place. times: keys of when; the first is for a time beside or above a place. bare: reads
    a list as one thing, where things have no place. keys: others by which a thing is known that has no place. texts: a
    text alone is a thing. prose: places in sentences are read.
    """

    places: Mapping[str, tuple[str, ...]]
    sizes: Mapping[int, str]
    words: tuple[str, ...]
    times: tuple[str, ...] = ()
    bare: Callable[[list[Any]], dict[str, Any] | None] | None = None
    keys: tuple[str, ...] = ()
    texts: bool = False
    prose: bool = True

    @cached_property
    def known(self) -> frozenset[str]:
        """All keys of places."""
        return frozenset((*self.places, *(name for names in self.places.values() for name in names)))


@dataclass(frozen=True)
class Things:
    """values: in the order of the reply, their places under the keys of the kind. dropped: pieces beside them that
    cannot be read. cut: the reply ends within the list. unread: it lists something, and nothing of it can be read.
    empty: it gives an empty list."""

    values: tuple[dict[str, Any], ...]
    dropped: int
    cut: bool
    unread: bool
    empty: bool


@dataclass
class _Walk:
    kind: Kind
    values: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    unread: int = 0
    empty: bool = False


def read_things(answer: str, kind: Kind) -> Things:
    """answer: without its reasoning. Raises nothing."""
    if _ESCAPED.search(answer):  # JSON in a text
        answer = answer.replace('\\"', '"').replace("\\n", "\n")
    read = _json(answer, kind)
    if read.values or read.cut or _CODE.search(answer):
        return read
    walk = _Walk(kind)
    _walk_all(walk, loosened(answer))
    if not walk.values and kind.prose and not read.unread:
        known = (*kind.known, *kind.words, *kind.times, *kind.keys)
        for read_written in (tables, tagged, lambda text: fields(text, known, kind.words[0]), lines_with_places):
            for value in () if walk.values else read_written(answer):
                _walk(walk, value, {}, 0, fenced=True)
    if walk.values:
        return Things(tuple(walk.values), walk.dropped, read.cut, unread=False, empty=False)
    return read


def settle(answer: str, things: Things, kept: int, dropped: int, what: str, faults: Iterable[str] = ()) -> None:
    """Whether an answer may stand: it has things, or it says that there are none. Raises InvalidOutput.

    kept, dropped: things that were read, and that were not. what: is asked for, in the plural.
    """
    if kept:
        return
    if cannot_say(answer):
        raise InvalidOutput(f"the model declines to list {what}", ("refused",))
    if things.cut:
        raise InvalidOutput(f"the reply ends before the first of its {what} does", ("cut", *faults))
    if dropped:
        raise InvalidOutput(f"the reply lists {what} and none can be read", ("dropped", *faults))
    if things.unread or not (things.empty or says_nothing(answer)):
        raise InvalidOutput(f"the reply holds no list of {what}")


def _json(answer: str, kind: Kind) -> Things:
    walk = _Walk(kind)
    written = _walk_all(walk, answer)
    if written.sound and (walk.values or walk.empty or walk.unread):
        return Things(tuple(walk.values), walk.dropped if walk.values else 0, False, walk.unread > 0, walk.empty)
    elements = read_elements(answer, (*kind.known, *kind.keys))
    if not elements.values and walk.values:
        behind = answer[written.places[-1][1] :]
        cut = "[" in answer.partition("{")[0] and not re.search(r"[\]}]|```", behind)
        return Things(tuple(walk.values), walk.dropped, cut, unread=False, empty=False)
    again = _Walk(kind)
    for element in elements.values:
        _walk(again, element, {}, 0, fenced=True)
    lost = len(elements.values) and again.unread
    unread = bool(walk.unread or again.unread or elements.dropped)
    return Things(tuple(again.values), elements.dropped + again.dropped + lost, elements.cut, unread, walk.empty)


def _walk_all(walk: _Walk, text: str) -> JsonValues:
    """The sound JSON of a text. A list within a sentence may be a place or a citation."""
    written = json_values(text)
    fences = "```" in text
    for value, (start, end) in _corners_joined(written, text, boxes=4 in walk.kind.sizes):
        alone = not (text[:start].strip() or text[end:].strip()) if len(written.values) == 1 else False
        _walk(walk, value, {}, 0, fenced=fences or alone)
    return written


def _corners_joined(written: JsonValues, text: str, *, boxes: bool) -> Iterator[tuple[Any, tuple[int, int]]]:
    """With two corners side by side, (1, 2), (3, 4), as one box."""
    values = list(zip(written.values, written.places, strict=True))
    place = 0
    while place < len(values):
        (value, (start, end)), following = values[place], values[place + 1 : place + 2]
        if boxes and following and text[end : following[0][1][0]].strip() in ("", ","):
            first, last = (numbers(pair, 2) if _flat(pair) else None for pair in (value, following[0][0]))
            if first and last and first[0] < last[0] and first[1] < last[1]:
                value, end, place = [*first, *last], following[0][1][1], place + 1
        yield value, (start, end)
        place += 1


def _walk(walk: _Walk, value: Any, above: dict[str, Any], depth: int, *, fenced: bool) -> None:
    """above: what is said of all that stands below: a name, a time."""
    if depth > _DEEPEST:
        walk.unread += 1
    elif isinstance(value, dict):
        _walk_object(walk, value, above, depth)
    elif isinstance(value, list):
        _walk_list(walk, value, above, depth, fenced=fenced)


def _walk_list(walk: _Walk, value: list[Any], above: dict[str, Any], depth: int, *, fenced: bool) -> None:
    if not value:
        walk.empty = True
        return
    if not (fenced or depth) and (len(value) == 1 or not isinstance(value[0], (list, dict))) and _numbers_within(value):
        return  # a place in a sentence, or a citation
    if (element := _bare(value, walk.kind)) is not None:
        walk.values += [{**above, **one} for one in element]
        return
    if all(isinstance(item, (int, float)) for item in value):
        walk.unread += 1
        return
    before = len(walk.values), walk.unread
    for item in value:
        if isinstance(item, (dict, list)):
            _walk(walk, item, above, depth + 1, fenced=fenced)
        elif isinstance(item, str) and walk.kind.texts and item.strip():
            walk.values.append({**above, walk.kind.words[0]: item})
        elif not (item is None or (isinstance(item, str) and says_nothing(item))):
            walk.unread += 1
        else:
            walk.empty = True
    if len(walk.values) > before[0]:
        walk.dropped += walk.unread - before[1]
        walk.unread = before[1]


def _walk_object(walk: _Walk, value: dict[str, Any], above: dict[str, Any], depth: int) -> None:
    kind = walk.kind
    if not value:
        walk.empty = True
        return
    elements = _elements(value, kind)
    if elements is not None:
        walk.values += [{**_lacking(element, above, kind), **element} for element in elements]
        if elements:
            _walk_parts(walk, value, depth)
        else:
            walk.empty = True
        return
    below = dict(above)
    for group in (kind.words, kind.times):
        for key in group:
            if isinstance(value.get(key), (str, int, float)) and not isinstance(value[key], bool):
                below = {name: item for name, item in below.items() if name not in group} | {key: value[key]}
                break
    before, empty = (len(walk.values), walk.unread), walk.empty
    walk.empty = False
    for key, item in value.items():
        if isinstance(item, str) and 4 in kind.sizes and not _is_no_place(key, kind):
            item = places_of(item, 4)  # {"mug": "275, 227, 899, 688"}
            if not item:
                continue
        if isinstance(item, (dict, list)) and not (_flat(item) and _is_no_place(key, kind)):
            _walk(walk, item, _named_by(key, item, below, kind), depth + 1, fenced=True)
    inner_empty, walk.empty = walk.empty, empty or walk.empty
    lists = [item for item in value.values() if isinstance(item, list)]
    if len(walk.values) == before[0] and inner_empty and [] in lists and not any(lists):
        walk.unread = before[1]  # an empty list, and what else it says
    if (len(walk.values), walk.unread) == before and not inner_empty:
        if not depth and _says_none(value, kind):
            walk.empty = True
        else:
            walk.unread += 1


def _walk_parts(walk: _Walk, value: dict[str, Any], depth: int) -> None:
    """Things within a thing, where they have places of their own."""
    known = walk.kind.known
    for key, item in value.items():
        parts = item if isinstance(item, list) else [item]
        if key not in known and depth < _DEEPEST:
            for part in parts:
                if isinstance(part, dict) and known & part.keys():
                    _walk_object(walk, part, {}, depth + 1)


def _elements(value: dict[str, Any], kind: Kind) -> list[dict[str, Any]] | None:
    """The things that an object is: none where it says that its thing has no place; None where it is no thing."""
    read: dict[str, list[list[float]]] = {}
    raw: dict[str, Any] = {}
    used: set[str] = set()
    absent = False
    keys = {plain_key(key): key for key in reversed(value)}
    for size, name in kind.sizes.items():
        for alias in (name, *kind.places[name]):
            key = keys.get(alias)
            if key is None or key in used or name in read:
                continue
            item = value[key]
            if _is_absent(item):
                absent, used = True, {*used, key}
            elif _are_named(item, kind):
                continue  # a list of things, each with its own name
            elif places := _any_size(item, size, name, kind):
                read.setdefault(places[0], places[1])
                used.add(key)
            elif not _holds_objects(item) and not (alias != name and _is_words(item)):
                raw.setdefault(name, item)  # else a list of things, or a place in words
    raw = {name: item for name, item in raw.items() if name not in read and not (read and name not in value)}
    if not read and not raw:
        for size, name in kind.sizes.items():
            if (place := named_place(value, size)) is not None and not (size == 2 and len(kind.sizes) == 1):
                read[name] = [place]
                break
    if not read and not raw and not absent and any(value.get(key) for key in kind.words):
        shaped = [
            (key, name, listed)
            for key, item in value.items()
            if isinstance(item, (list, dict, str)) and not _is_no_place(key, kind)
            for size, name in kind.sizes.items()
            if (isinstance(item, list) or size > 2) and (listed := places_of(item, size)) and len(listed) == 1
        ]
        if len(shaped) == 1:
            read[shaped[0][1]] = shaped[0][2]
            used.add(shaped[0][0])
    others = {key: item for key, item in value.items() if key not in used and not (key in raw and raw[key] is item)}
    if read or raw:
        single = {name: places[0] for name, places in read.items() if len(places) == 1}
        if single and not raw and not any(isinstance(value.get(key), str) for key in kind.words):
            others |= _names_of(others, 1, kind)[0]
        many = [(name, place) for name, places in read.items() if len(places) > 1 for place in places]
        if not many:
            return [{**raw, **single, **others}]
        names = _names_of(others, len(many), kind)
        return [{name: place, **others, **named} for (name, place), named in zip(many, names, strict=True)]
    if any(value.get(key) is False for key in _IS_THERE):
        return []
    if any({key, plain_key(key)} & {*kind.keys} and not _is_absent(item) for key, item in value.items()):
        return [others]
    return [] if absent else None


def _names_of(value: dict[str, Any], count: int, kind: Kind) -> list[dict[str, Any]]:
    """What a list beside a list of as many places calls each: {"boxes": […], "labels": […]}."""
    plurals = {plural: word for word in kind.words for plural in (word, f"{word}s", f"{word}es", f"{word[:-1]}ies")}
    for key, item in value.items():
        word = plurals.get(plain_key(key))
        if word and isinstance(item, list) and len(item) == count and all(isinstance(part, str) for part in item):
            return [{word: part} for part in item]
    return [{}] * count


def _any_size(item: Any, size: int, name: str, kind: Kind) -> tuple[str, list[list[float]]] | None:
    """The places that stand under a key, of its size or of another of the kind; and the key that they belong under."""
    for count, other in ((size, name), *kind.sizes.items()):
        if places := places_of(item, count):
            return other, places
    return None


def plain_key(key: str) -> str:
    """A key in lower case, its words joined with _."""
    return re.sub(r"[\s-]+", "_", key.strip().lower())


def _bare(value: list[Any], kind: Kind) -> list[dict[str, Any]] | None:
    """A place without its object: numbers alone, or beside a text or a time."""
    if kind.bare is not None:
        element = kind.bare(value)
        return None if element is None else [element]
    for size, name in kind.sizes.items():
        if numbers(value, size) is not None and not any(isinstance(item, str) for item in value[:1]):
            return [{name: list(value)}]
    words = [item for item in value if isinstance(item, str)]
    rest = [item for item in value if not isinstance(item, str)]
    if not 1 <= len(words) <= 2 or len(value) > 12 or not rest:
        if kind.times and len(value) == 2 and isinstance(value[1], list) and numbers(value[:1], 1):
            return _beside(value[1], {kind.times[0]: value[0]}, kind)
        if kind.times and len(value) in (size + 1 for size in kind.sizes) and numbers(value, len(value)):
            return _beside(value[1:], {kind.times[0]: value[0]}, kind)
        return None
    beside = {kind.times[0] if kind.times and _TIME_KEY.fullmatch(words[0].strip()) else kind.words[0]: words[0]}
    if len(rest) == 1 and isinstance(rest[0], (list, dict)):
        return _beside(rest[0], beside, kind)
    if len(rest) == 2 and isinstance(rest[0], (list, dict)) and isinstance(rest[1], (int, float)):
        return _beside(rest[0], beside, kind)
    if len(rest) == 2 and isinstance(rest[1], (list, dict)) and isinstance(rest[0], (int, float)):
        return _beside(rest[1], {**beside, **({kind.times[0]: rest[0]} if kind.times else {})}, kind)
    if all(isinstance(item, (int, float)) for item in rest):
        if len(rest) - 1 in kind.sizes and len(rest) not in kind.sizes and 0 <= rest[-1] <= 1:
            rest = rest[:-1]  # how sure it is
        return _beside(rest, beside, kind)
    return None


def _beside(place: Any, named: dict[str, Any], kind: Kind) -> list[dict[str, Any]] | None:
    for size, name in kind.sizes.items():
        if places := places_of(place, size):
            return [{name: one, **named} for one in places]
    return None


def _named_by(key: str, item: Any, below: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """What the key above a place or a list of things says of them: their name, or their time."""
    if kind.times and _TIME_KEY.fullmatch(key.strip()):
        return {**below, kind.times[0]: key}
    if _GENERIC.fullmatch(key.strip()) or plain_key(key) in kind.known or any(name in below for name in kind.words):
        return below
    if isinstance(item, list) and any(
        isinstance(part, dict) and any(part.get(word) for word in kind.words) for part in item
    ):
        return below
    return {**below, kind.words[0]: key}


def _lacking(element: dict[str, Any], above: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """Of what is said above a thing, what it does not say itself."""
    return {
        key: item
        for key, item in above.items()
        if not any(
            element.get(name) not in (None, "") for group in (kind.words, kind.times) if key in group for name in group
        )
        and not any(element.get(name) for name in kind.keys)
    }


def _is_no_place(key: str, kind: Kind) -> bool:
    """Whether numbers under a key are a measure, or a place of another kind."""
    return _MEASURES.search(key) is not None or ("3d" in key.lower() and plain_key(key) not in kind.known)


def _holds_objects(item: Any) -> bool:
    return isinstance(item, list) and any(isinstance(part, (dict, str)) for part in item)


def _are_named(item: Any, kind: Kind) -> bool:
    return isinstance(item, list) and any(
        isinstance(part, dict) and any(isinstance(part.get(word), str) for word in kind.words) for part in item
    )


def _numbers_within(value: list[Any]) -> bool:
    return all(isinstance(item, (int, float)) or (isinstance(item, list) and _flat(item)) for item in value)


def _is_words(item: Any) -> bool:
    return isinstance(item, str) and not any(map(str.isdigit, item))


def _flat(item: Any) -> bool:
    return isinstance(item, list) and all(isinstance(part, (int, float)) for part in item)


def _is_absent(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("", *_NO_WORDS)
    return value is None or value is False or value in ([], {})


def _says_none(value: dict[str, Any], kind: Kind) -> bool:
    """Whether an object of plain values says that there is nothing: {"found": false}, {"message": "No cars."}."""
    if any(value.get(key) for key in kind.words if key not in ("text", "content", "description")):
        return False
    plain = list(value.values())
    if all(
        item in (None, False, 0, "") or (isinstance(item, str) and item.strip().lower() in _NO_WORDS) for item in plain
    ):
        return True
    return any(isinstance(item, str) and says_nothing(item) for item in plain)
