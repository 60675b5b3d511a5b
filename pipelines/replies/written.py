"""Things that a reply writes without JSON: in Markdown tables, in tags, in lines of prose, in Python's notation.

Each is given as the value that JSON would have had for it. Nothing here looks farther than a line or a tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    r"\s*\((?:bbox|box|bounding box|point|coordinates?)\)?\s*$|[:,]?\s*\b(?:bbox|box|bounding box|point)(?:_[23]d)?$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"\b(?:is|are|the|of|box|bounding|located|coordinates?|bbox|point)\b", re.IGNORECASE)
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
    """`- car: [100, 200, 300, 400]`, `<ref>car</ref><box>(100,200),(300,400)</box>`, `x1=1, y1=2, x2=3, y2=4`."""
    for line in text.splitlines():
        if len(line) > _LONGEST_LINE or not any(char.isdigit() for char in line):
            continue
        if (sides := _SIDES.search(line)) is not None:
            box = [float(sides[place]) for place in (2, 4, 6, 8)]
            yield _labelled(line[: sides.start()], box)
            continue
        groups = list(_GROUP.finditer(line))
        place = 0
        after = 0
        while place < len(groups):
            numbers = [float(number) for number in _NUMBER.findall(groups[place][1])]
            start = groups[place].start()
            following = groups[place + 1] if place + 1 < len(groups) else None
            if len(numbers) == 2 and following is not None and len(_NUMBER.findall(following[1])) == 2:
                between = line[groups[place].end() : following.start()]
                if len(between) <= 20 and (_TWO_CORNERS.search(line) or re.fullmatch(r"\s*[,;]?\s*", between)):
                    numbers += [float(number) for number in _NUMBER.findall(following[1])]
                    place += 1
            yield _labelled(line[after:start], numbers)
            after = groups[place].end()
            place += 1


def _labelled(before: str, numbers: list[float]) -> Any:
    name = _name(before)
    return [name, numbers] if name else [numbers]


def _name(before: str) -> str:
    words = re.sub(r"[*_`#\"]+", "", _TAGS.sub(" ", _BULLET.sub("", before, count=1))).strip(" \t:,;=-–—([<")
    words = _ENDS_IN.sub("", words).strip(" :,-–—")
    return words if 0 < len(words) <= 60 and len(words.split()) <= 6 and not _SENTENCE.search(words) else ""


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
    group = _GROUP.fullmatch(text)
    return [float(number) for number in _NUMBER.findall(group[1])] if group else text
