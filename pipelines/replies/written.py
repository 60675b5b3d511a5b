"""Things that a reply writes without JSON: in Markdown tables, in tags, in lines of prose, in Python's notation.

Each is given as the value that JSON would have had for it. Nothing here looks farther than a line or a tag.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

_N = r"-?\d{1,6}(?:\.\d{1,6})?"
_LONGEST_LINE = 2000
_RULE = re.compile(r"^[\s|:\-–—+]+$")
_GROUP = re.compile(rf"[\[(<]{{1,3}}\s*({_N}(?:[\s,;]+{_N}){{1,11}})\s*[\])>]{{1,3}}")
_NUMBER = re.compile(_N)
_SIDES = re.compile(
    rf"\b(x_?(?:1|0|min|start)|left)\s*[=:]\s*({_N})\D{{1,12}}?(y_?(?:1|0|min|start)|top)\s*[=:]\s*({_N})\D{{1,12}}?"
    rf"(x_?(?:2|1|max|end)|right)\s*[=:]\s*({_N})\D{{1,12}}?(y_?(?:2|1|max|end)|bottom)\s*[=:]\s*({_N})",
    re.IGNORECASE,
)
_POINTS = re.compile(r"<points?\b([^<>]{1,2000})>([^<>]{0,200})", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([\w-]{1,20})\s*=\s*[\"']([^\"']{0,200})[\"']")
_TAGS = re.compile(r"</?[|\w][\w\s|/]{0,30}>|<\|[\w/]{1,30}\|>")
_BULLET = re.compile(r"^\s*(?:[-*•+]\s+|\d{1,3}[.)]\s+)?")
_ENDS_IN = re.compile(
    r"[\s—–:,-]*\b(?:(?:from\s+)?(?:the\s+)?top[\s-]left(?:\s+corner)?|from|at)$"
    r"|\s*\((?:bbox|box|bounding box|point|coordinates?)\)?\s*$|[:,]?\s*\b(?:bbox|box|bounding box|point)(?:_[23]d)?$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"\b(?:is|are|the|of|box|bounding|located|coordinates?|bbox|point|befindet|liegt|steht|ist)\b", re.IGNORECASE
)
_REFERENCE = re.compile(
    r"<\|?(?:object_)?ref(?:_start)?\|?>([^<>]{1,300})<[/|][^<>]{0,30}>[^<>]{0,5}(?:<[^<>]{0,30}>)?\s*$"
)
_FIELD = re.compile(r"([^\W\d][\w -]{0,30}?)[*_`\"]{0,3}\s?[:：]\s?[*_`]{0,3}\s*(\S.*)")
_COUNTED = re.compile(
    r"((?:event|scene|item|object|step|entry|detection|element|clip|segment|moment|事件|场景))\s*#?\d{1,3}",
    re.IGNORECASE,
)
_UP_TO = re.compile(r"[\s`*]*(?:to|-|–|→|->)[\s`*]*")
_BEGINS_WITH = re.compile(r"(?:and|(?:line|word|text)\s*\d{1,4}\s?[:.])\s+", re.IGNORECASE)
_EMPHASIS = re.compile(r"[*`#\"]+|(?<!\w)_+|_+(?!\w)")
ROLE = (
    r"(?:\w+[_\s-])?(?:button|link|icon|text|field|input|textbox|checkbox|radio|tab|menu|menuitem|item|image|picture|"
    r"dropdown|combobox|list|slider|switch|toggle|label|heading|toolbar|search_?bar|box|bar|control|widget)"
)
"""What an element of a screen may be (a pattern, in lower case)."""
_WITH_ROLE = re.compile(
    rf"{ROLE}:?\s[\"“][^\"“”\n]{{1,80}}[\"”]|[\"“][^\"“”\n]{{1,80}}[\"”]\s\(?{ROLE}\)?", re.IGNORECASE
)
_STARS = re.compile(r"[*`#]+")
_AROUND = " \t:：,;=-–—→([<.、，"
_LEADS = re.compile(rf"\s*{_GROUP.pattern}\s*[:：,\-–—]?\s*\S")
_HEADING = re.compile(r"\s*(?:[-*•+#]|\d{1,3}[.)]|__)")
_NUMBERS = re.compile(rf"{_N}(?:[\s,;]{{1,3}}{_N}){{1,11}}")
_TWO_CORNERS = re.compile(r"box|bbox|corner|rect|top|region|det\b", re.IGNORECASE)


def loosened(text: str) -> str:
    """Python's lists, tuples and quotes as JSON's, without commas that nothing follows."""
    text = text.translate(str.maketrans("()“”", '[]""'))
    text = re.sub(r"(?<![\w])'|'(?![\w])", '"', text)
    text = re.sub(
        r"\b(None|True|False)\b", lambda match: {"None": "null", "True": "true", "False": "false"}[match[1]], text
    )
    return re.sub(r",(?=\s{0,50}[\]}])", "", text)


def tables(text: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of each Markdown table, by the names of its columns: lower case, words joined with _."""
    header: list[str] | None = None
    rows: list[dict[str, Any]] = []
    lines = text.splitlines()
    for line in (*lines, ""):
        cells = _cells(line)
        if cells is None:
            if rows:
                yield rows
            header, rows = None, []
        elif header is None:
            header = [
                re.sub(r"\W+", "_", _plain(cell).lower()).strip("_") or str(place) for place, cell in enumerate(cells)
            ]
        elif _RULE.match(line) is None:
            values = {name: _value(cell) for name, cell in zip(header, cells, strict=False)}
            rows.append({name: value for name, value in values.items() if value != ""})


def tagged(text: str) -> Iterator[Any]:
    """<points x1="…" y1="…" alt="…">: what Qwen-VL and Molmo write for points."""
    for match in _POINTS.finditer(text):
        attributes = dict(_ATTRIBUTE.findall(match[1]))
        label = attributes.get("alt") or match[2].strip()
        for number in ("", *map(str, range(1, 100))):
            x, y = attributes.get(f"x{number}"), attributes.get(f"y{number}")
            if x is not None and y is not None:
                yield {"point_2d": [_value(x), _value(y)], **({"label": label} if label else {})}
            elif number:
                break


def lines_with_places(text: str) -> Iterator[Any]:
    """`- car: [100, 200, 300, 400]`, `<ref>car</ref><box>(100,200),(300,400)</box>`, `x1=1, y1=2, x2=3, y2=4`; also
    `[100, 200, 300, 400] car` where all places stand so, and numbers where there is nothing else."""
    lines = [line for line in text.splitlines() if len(line) <= _LONGEST_LINE and any(map(str.isdigit, line))]
    bare = [_TAGS.sub(" ", line).strip() for line in text.splitlines() if line.strip() and not line.startswith("```")]
    if bare and all(map(_NUMBERS.fullmatch, bare)):
        yield from ([[float(number) for number in _NUMBER.findall(line)]] for line in bare)
        return
    starts = [_BULLET.sub("", line, count=1) for line in lines if _GROUP.search(line)]
    leading = all(map(_LEADS.match, starts))
    for line in lines:
        if (sides := _SIDES.search(line)) is not None:
            box = [float(sides[place]) for place in (2, 4, 6, 8)]
            yield _labelled(line[: sides.start()], box)
            continue
        places = list(_places_in(line))
        for before, numbers, behind in places:
            if leading and len(places) == 1 and any(map(str.isalnum, behind)):
                yield [_TAGS.sub("", behind).strip(_AROUND + ">)]"), numbers]
            else:
                yield _labelled(before, numbers)


def _places_in(line: str) -> Iterator[tuple[str, list[float], str]]:
    """What stands before each place of a line, its numbers, and what stands behind it."""
    groups = list(_GROUP.finditer(line))
    place = after = 0
    while place < len(groups):
        numbers = [float(number) for number in _NUMBER.findall(groups[place][1])]
        start = groups[place].start()
        if (around := _four_corners(line, groups[place : place + 5])) is not None:
            place += 3
            yield line[after:start], around, line[groups[place].end() :]
            after, place = groups[place].end(), place + 1
            continue
        following = groups[place + 1] if place + 1 < len(groups) else None
        if len(numbers) == 2 and following is not None and len(_NUMBER.findall(following[1])) == 2:
            between = line[groups[place].end() : following.start()]
            ends = [float(number) for number in _NUMBER.findall(following[1])]
            up_to = _UP_TO.fullmatch(between) and numbers[0] < ends[0] and numbers[1] < ends[1]
            if len(between) <= 20 and (_TWO_CORNERS.search(line) or up_to or re.fullmatch(r"\s*[,;]?\s*", between)):
                numbers += ends
                place += 1
        yield line[after:start], numbers, line[groups[place].end() :]
        after = groups[place].end()
        place += 1


def _four_corners(line: str, groups: list[re.Match[str]]) -> list[float] | None:
    """The rectangle around exactly four points side by side."""
    corners = []
    for group, following in zip(groups, [*groups[1:], None], strict=True):
        if len(pair := _NUMBER.findall(group[1])) != 2:
            break
        corners.append([float(side) for side in pair])
        if following is None or re.fullmatch(r"\s*[,;]?\s*", line[group.end() : following.start()][:20]) is None:
            break
    if len(corners) != 4:
        return None
    xs, ys = zip(*corners, strict=True)
    return [min(xs), min(ys), max(xs), max(ys)]


def fields(text: str, known: Collection[str], name_key: str) -> Iterator[dict[str, Any]]:
    """Records of `key: value` lines, as YAML has them and lists in Markdown: a new one begins where a key comes again
    or a heading stands, which names what lies below it. Keys of `known` may share a line. None where a line holds a
    place that is no field's.
    """
    keys = "|".join(re.escape(key).replace("_", "[_ ]") for key in sorted(known, key=len, reverse=True))
    inline = re.compile(rf"(?<![^\s,;*_`\"])({keys})[*_`\"]{{0,3}}\s?[:=：]\s?[*_`]{{0,3}}", re.IGNORECASE)
    records: list[dict[str, Any]] = [{}]
    heading = ""
    for line in text.splitlines():
        if len(line) > _LONGEST_LINE or not line.strip():
            continue
        pairs = _pairs(line, inline)
        if not pairs and _GROUP.search(line):
            return
        if not pairs:
            heading = _name(line) if _HEADING.match(line) else ""
            records.append({})
        for key, value in pairs:
            if isinstance(value, str) and _GROUP.search(value):
                return
            if key in records[-1]:
                records.append({})
            elif not records[-1] and heading and key in known:
                records[-1][""] = heading
            records[-1][key] = value
    for record in records:
        heading = record.pop("", "")
        if record:
            yield {name_key: heading, **record} if heading else record


def _pairs(line: str, inline: re.Pattern[str]) -> list[tuple[str, Any]]:
    """The fields of a line: of known keys, else one of any."""
    line = _BULLET.sub("", line.strip(), count=1).lstrip('*_`"')
    marks = list(inline.finditer(line))
    if marks and not marks[0].start():
        ends = [*(mark.start() for mark in marks[1:]), len(line)]
        values = [line[mark.end() : end].strip(" \t,;") for mark, end in zip(marks, ends, strict=True)]
        return [
            (re.sub(r"\s", "_", mark[1].lower()), _unquoted(value)) for mark, value in zip(marks, values, strict=True)
        ]
    one = _FIELD.fullmatch(line)
    if one is None:
        return []
    counted = _COUNTED.fullmatch(one[1].strip())  # `Event 2` begins another record than `Event 1`
    return [(counted[1].lower() if counted else one[1].strip(), _unquoted(one[2].strip()))]


def _unquoted(text: str) -> Any:
    value = _value(text)
    quoted = isinstance(value, str) and len(value) > 1 and value[0] in "\"“'" and value[-1] in "\"”'"
    return value[1:-1] if quoted else value


def _labelled(before: str, numbers: list[float]) -> Any:
    name = _name(before)
    return [name, numbers] if name else [numbers]


def _name(before: str) -> str:
    """What a place is called by the words before it: short ones, or what is marked as a name."""
    if (marked := _REFERENCE.search(before)) is not None:
        return " ".join(marked[1].split())
    words = re.sub(r"\\\w{1,20}\{|\$", "", _TAGS.sub(" ", _BULLET.sub("", before, count=1)))
    if (partly := _WITH_ROLE.fullmatch(_STARS.sub("", words).strip(_AROUND))) is not None:
        return " ".join(partly[0].split())
    words = re.split(r"[.!?;。；]\s+", _EMPHASIS.sub("", words).strip(_AROUND))[-1].strip(_AROUND)
    words = _BEGINS_WITH.sub("", _ENDS_IN.sub("", words)).strip(_AROUND)
    short = 0 < len(words) <= 60 and len(words.split()) <= 6 and any(map(str.isalnum, words))
    return words if short and not _SENTENCE.search(words) else ""


def _cells(line: str) -> list[str] | None:
    """Of a row of a table; None for another line."""
    line = line.strip()
    if line.count("|") < 2 or len(line) > _LONGEST_LINE or not (line.startswith("|") or " | " in line):
        return None
    return [cell.strip() for cell in line.strip("|").split("|")]


def _plain(cell: str) -> str:
    return re.sub(r"[*_`]+(?=\W|$)|(?<!\w)[*_`]+", "", cell).strip()


def _value(cell: str) -> Any:
    text = _plain(cell)
    if re.fullmatch(_N, text):
        return float(text)
    if (sides := _SIDES.fullmatch(text)) is not None:
        return [float(sides[place]) for place in (2, 4, 6, 8)]
    group = _GROUP.fullmatch(text)
    return [float(number) for number in _NUMBER.findall(group[1])] if group else text
