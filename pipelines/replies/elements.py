"""Read lists of JSON objects as the model really writes them: fenced or bare, damaged, cut off.

A reply whose only fault is a quote within a text (`"the 5" pipe"`) is read as if it were escaped. Of others every
element is looked for by itself, by its first known key and the plain values that may stand before it, so damage costs
the element that it lies in and no other. An element that is not JSON is repaired (json_repair) up to where the next one
begins; one that is cut off by the end of the reply is dropped. Knows nothing of what the elements mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import json_repair

_DECODER = json.JSONDecoder(strict=False)  # line breaks inside strings are common
_FENCE = re.compile(r"```[^\S\n]*[\w+-]*[^\S\n]*(?:\n|$)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+("?)', re.DOTALL)
_PAIRS = (
    r'(?:"(?:[^"\\]|\\.){1,100}"\s*:\s*'
    r'(?:"(?:[^"\\]|\\.){0,1000}"|\[[^\[\]{}]{0,200}\]|[^\s"\[\]{},]{1,40})\s*,?\s*){0,8}?'
)
"""Pairs of a name and a plain value, few and short: what an element says before anything that we know."""
_LONGEST_REPAIR = 8_000
_LONGEST_ELEMENT = 4_000
"""Characters of one object, and of one of many, that are worth a repair."""
_DEEPEST = 16
"""Brackets within brackets that are repaired."""
_REPAIRS = 2 * _LONGEST_ELEMENT**2
"""Of one reply. A repair takes up to the square of its characters (0.4 µs each): so much at most."""
_MOST_FAILURES = 64
"""Brackets of one reply at which sound JSON is looked for in vain; each may read to the end."""
_OPENS = re.compile(r"[\[{]")
_INNER_QUOTE = "\ue002"
"""Stands for a quote within a text, while it is read."""
_MARK = re.compile(r"[\[\]{}\"\\]")
_HOLDS_OTHERS = re.compile(r"[{}]|\"\s{0,5}:")
_ENDS_TEXT = {
    # within an object a text ends before the next key, a key before its colon
    "{": re.compile(r"\s{0,50}(?:[}:]|(?:,\s{0,50})?\"[^\"\n]{1,60}\"\s{0,5}:|,\s{0,50}\}|$)"),
    "[": re.compile(r"\s{0,50}(?:\]|,\s{0,50}(?:[\"\[{\]\d-]|null\b|true\b|false\b)|$)"),
}
_BEGINS = re.compile(r"\[\s*(?:[\[{\"'\d\]-]|(?:null|true|false)\b)|\{\s*[\"'}\w]")


@dataclass(frozen=True)
class Elements:
    """values: whole elements in order. dropped: pieces that were elements once and cannot be read. cut: the reply
    ends within the list. has_list: there was a list of such elements, if an empty one."""

    values: tuple[dict[str, Any], ...]
    dropped: int
    cut: bool
    has_list: bool


@dataclass(frozen=True)
class JsonValues:
    """places: (start, end) of each value. sound: all that looks like JSON is."""

    values: tuple[Any, ...]
    places: tuple[tuple[int, int], ...]
    sound: bool


def json_values(text: str) -> JsonValues:
    """The outermost objects and arrays of a reply, in order. A bracket of prose is none. Raises nothing."""
    read = _values_in(text)
    if read.sound or (marked := _inner_quotes_marked(text)) == text:
        return read
    again = _values_in(marked)
    return replace(again, values=_with_quotes(again.values)) if again.sound and again.values else read


def _values_in(text: str) -> JsonValues:
    values: list[Any] = []
    places: list[tuple[int, int]] = []
    place = failures = 0
    while (opening := _OPENS.search(text, place)) is not None:
        place = opening.start()
        if _BEGINS.match(text, place) is None:
            place += 1
        elif (strict := _strict(text, place)) is not None:
            values.append(strict[0])
            places.append((place, strict[1]))
            place = strict[1]
        else:
            place, failures = place + 1, failures + 1
            if failures >= _MOST_FAILURES:
                break
    return JsonValues(tuple(values), tuple(places), sound=failures == 0)


def _inner_quotes_marked(text: str) -> str:
    """With _INNER_QUOTE for quotes within a text of JSON: those behind which nothing stands that may follow a text. As
    it was where such a text would hold keys or braces: then its own last quote is what is missing."""
    opened: list[str] = []
    inner: list[int] = []
    inside, is_value, place, start = False, False, 0, 0
    while (mark := _MARK.search(text, place)) is not None:
        char, place = mark[0], mark.end()
        if char == "\\":
            place += 1
        elif char != '"':
            if inside:
                continue
            if char in "[{":
                opened.append(char)
            elif opened:
                opened.pop()
        elif opened and not inside:
            inside, is_value = True, text[max(0, mark.start() - 50) : mark.start()].rstrip().endswith(":")
            start = place
        elif opened:
            ends = _ENDS_TEXT[opened[-1]].match(text, place)
            if ends is not None and not (is_value and ends[0].strip() == ":"):
                inside = False
                if inner and inner[-1] >= start and _HOLDS_OTHERS.search(text, start, mark.start()):
                    return text
            else:
                inner.append(mark.start())
    if not inner:
        return text
    chars = list(text)
    for at in inner:
        chars[at] = _INNER_QUOTE
    return "".join(chars)


def _with_quotes(values: tuple[Any, ...]) -> tuple[Any, ...]:
    plain = json.dumps(values).replace("\\ue002", '\\"')
    return tuple(json.loads(plain))


def read_elements(text: str, keys: Collection[str]) -> Elements:
    """The objects that have at least one of `keys`, wherever they stand in the reply. Raises nothing."""
    names = "|".join(re.escape(key) for key in sorted(keys, key=len, reverse=True))
    key = re.compile(rf"""["'“]?\b(?:{names})["'”]?\s*:""")
    start = re.compile(rf"\{{[\s,]*{_PAIRS}{key.pattern}", re.DOTALL)
    values: list[dict[str, Any]] = []
    quoted = re.compile(rf"""["'“](?:{names})["'”]\s*:""")  # else it may be prose, or YAML
    dropped = place = failures = 0
    last_open = False
    last_region = ""
    repair = _Repair()
    match = start.search(text)
    while match is not None:
        dropped += _salvage(text[place : match.start()], quoted, values, repair)
        strict = _strict(text, match.start()) if failures < _MOST_FAILURES else None
        if strict is not None and isinstance(strict[0], dict):
            value, place = strict
            following = start.search(text, place)
        else:
            failures += 1
            following = start.search(text, match.end())
            place = following.start() if following else len(text)
            region = _unfenced(text[match.start() : place])
            bare = _bare(region)
            last_open, last_region = following is None and _is_cut(region), bare
            region = region[: bare.rfind("}") + 1] or region
            value = None if last_open else repair.object_of(region)
        if value is not None and any(name in value for name in keys):
            values.append(value)
        else:
            dropped += 1
        match = following
    rest = text[place:]
    dropped += _salvage(rest, quoted, values, repair)
    behind = rest + (last_region.rpartition("}")[2] if "}" in last_region else "")
    opened = "[" in text.partition("{")[0]
    cut = last_open or (opened and "]" not in behind and "```" not in behind)
    empty = cut or any(value == [] for value in json_values(text).values)
    return Elements(tuple(values), dropped, cut, has_list=bool(values or dropped or empty))


def read_value(text: str, opening: Literal["{", "["]) -> Any:
    """The one JSON object or array of a reply: of the last fenced block that has one, else of the text.

    None when there is none that can be read or repaired; one that is cut off counts as none.
    """
    blocks = [block for block in fenced(text) if opening in block]
    body = blocks[-1] if blocks else text
    begin = re.search(r"\{[\s,]*[\"'“}]" if opening == "{" else r"\[[\s,]*[\[{\"'“\d\]-]", body)
    if begin is None:
        return None
    if (strict := _strict(body, begin.start())) is not None:
        return strict[0]
    if (strict := _strict(_inner_quotes_marked(body), begin.start())) is not None:
        return _with_quotes(strict[:1])[0]
    region = _unfenced(body[begin.start() :])
    return None if _is_cut(region) or _depth(region) > _DEEPEST else _repaired(region)


def read_cut_object(text: str) -> dict[str, Any] | None:
    """What is whole of a JSON object that the end of the reply cuts off: all up to its last comma."""
    start = text.find("{")
    if start < 0:
        return None
    inside = escaped = False
    end = start
    for place in range(start, len(text)):
        char = text[place]
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            inside = not inside
        elif char == "," and not inside:
            end = place
    return _object_of(_repaired(text[start:end])) if _depth(text[start:end]) <= _DEEPEST else None


def fenced(text: str) -> Iterator[str]:
    """Contents of the ``` blocks in order; one that is not closed reaches to the end."""
    place = 0
    while (opening := _FENCE.search(text, place)) is not None:
        end = text.find("```", opening.end())
        yield text[opening.end() : end if end >= 0 else len(text)]
        if end < 0:
            return
        place = end + 3


def _strict(text: str, place: int) -> tuple[Any, int] | None:
    """The JSON value that begins here, and where it ends."""
    try:
        return _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return None


class _Repair:
    """Repairs elements until what a reply may take is spent."""

    def __init__(self) -> None:
        self._left = _REPAIRS

    def object_of(self, region: str) -> dict[str, Any] | None:
        cost = len(region) ** 2
        if len(region) > _LONGEST_ELEMENT or cost > self._left or _depth(region) > _DEEPEST:
            return None
        self._left -= cost
        return _object_of(_repaired(region))


def _object_of(value: Any) -> dict[str, Any] | None:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    return value if isinstance(value, dict) else None


def _repaired(region: str) -> Any:
    if len(region) > _LONGEST_REPAIR:
        return None
    try:
        return json_repair.loads(region.rstrip().rstrip(",").rstrip())
    except (ValueError, RecursionError, IndexError, TypeError, AttributeError):
        return None  # it is a heuristic over hostile text: what it chokes on is not repaired


def _depth(region: str) -> int:
    """How deep its brackets stand within each other, wherever they stand."""
    depth = deepest = 0
    for char in region:
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth = max(0, depth - 1)
    return deepest


def _salvage(gap: str, key: re.Pattern[str], values: list[dict[str, Any]], repair: _Repair) -> int:
    """What lies between elements: an element that lost its brace is repaired into values; 1 if it cannot be."""
    match = key.search(gap)
    if match is None:
        return 0
    value = repair.object_of("{" + _unfenced(gap[match.start() :]))
    if value is None:
        return 1
    values.append(value)
    return 0


def _unfenced(region: str) -> str:
    """Without the fence that closes behind it."""
    return region.split("```", 1)[0] if "```" in region else region


def _bare(region: str) -> str:
    """With blanks for what stands within quotes; a quote that does not end keeps its mark."""
    return _QUOTED.sub(lambda match: (" " if match[1] else '"') + " " * (len(match[0]) - 1), region)


def _is_cut(region: str) -> bool:
    """Whether the text ends within a string, or before anything closes."""
    bare = _bare(region)
    return '"' in bare or not ("}" in bare or bare.rstrip().endswith("]"))
