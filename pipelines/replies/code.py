"""Code in replies: the last fenced block of its language, or the code itself where nothing is fenced.

Knows nothing of what the code means; whether it works is checked after its row is committed (operators/code_check).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.errors import InvalidOutput
from schemas.output import Output, record
from schemas.task import ParsedReply

_FENCE = re.compile(r"^[^\S\n]*(`{3,}|~{3,})[^\S\n]*([\w+#.-]*)", re.MULTILINE)

CODE = Output(record(code={"type": "string", "minLength": 1}))
"""The output of the tasks that write code; the code check reads its `code`."""


@dataclass(frozen=True)
class Language:
    """names: what stands behind a fence. begins: what such code begins with (a pattern), for blocks and replies that
    do not say what they are. ends: what it ends with; None for languages that have no such thing."""

    title: str
    names: tuple[str, ...]
    begins: str
    ends: str | None


HTML = Language(
    "HTML", ("html", "htm", "xhtml"), r"<!doctype\s+html|<html\b|<(?:head|body|style|div|main)\b", "</html>"
)
SVG = Language("SVG", ("svg", "xml", "html"), r"<\?xml\b|<!doctype\s+svg|<svg\b", "</svg>")
DRAWIO = Language("mxGraph XML", ("xml", "drawio", "mxgraph"), r"<\?xml\b|<mxfile\b|<mxGraphModel\b", None)
PYTHON = Language("Python", ("python", "py", "python3"), r"(?:import|from)\s+\w|#|[\w.]+\s*=", None)


def read_code(reply: str, language: Language) -> ParsedReply:
    """{"code": …}; cut where the code, or its fence, does not end. Raises InvalidOutput where there is none."""
    begins = re.compile(language.begins, re.IGNORECASE)
    blocks = _blocks(reply)
    candidates = [block for block in blocks if block.name in language.names and begins.search(block.code)]
    candidates = candidates or [block for block in blocks if begins.match(block.code)]
    if candidates:
        # the last one is the one that the model settled on (cookbooks/mmcode.ipynb)
        code, closed = candidates[-1].code, candidates[-1].closed
    elif (start := _bare(reply, begins, language)) is not None:
        code, closed = reply[start:], True
    else:
        raise InvalidOutput(f"the reply holds no {language.title}")
    code, whole = _ended(code, language)
    if not code.strip():
        raise InvalidOutput(f"the reply holds no {language.title}")
    return ParsedReply({"code": code.strip() + "\n"}, cut=not (closed and whole))


@dataclass(frozen=True)
class _Block:
    name: str
    code: str
    closed: bool


def _blocks(reply: str) -> list[_Block]:
    """The fenced blocks in order; one that is not closed reaches to the end (CommonMark §4.5, but that a fence may
    also close at the end of a line of code)."""
    blocks = []
    place = 0
    while (opening := _FENCE.search(reply, place)) is not None:
        fence = opening[1]
        closing = re.compile(rf"{re.escape(fence)}{re.escape(fence[0])}*[^\S\n]*$", re.MULTILINE)
        end = closing.search(reply, opening.end())
        code = reply[opening.end() : end.start() if end else len(reply)]
        blocks.append(_Block(opening[2].lower(), code.strip("\n"), end is not None))
        place = end.end() if end else len(reply)
    return blocks


def _bare(reply: str, begins: re.Pattern[str], language: Language) -> int | None:
    """Where code without a fence begins: at a tag wherever it stands, at a statement only where a line begins."""
    if language is PYTHON:
        begins = re.compile(r"^(?:import|from)\s+[\w.]+", re.MULTILINE)
    match = begins.search(reply)
    return match.start() if match else None


def _ended(code: str, language: Language) -> tuple[str, bool]:
    """Without the prose behind the code; whether its end is there, where it must have one."""
    if language is DRAWIO:
        ends = [match.end() for match in re.finditer(r"</(?:mxfile|mxGraphModel)\s*>", code)]
        return (code[: ends[-1]], True) if ends else (code, False)
    if language.ends is None:
        return code, True
    end = code.lower().rfind(language.ends)
    if end >= 0:
        return code[: end + len(language.ends)], True
    # a fragment of HTML has no such end
    return code, language is HTML and "<html" not in code.lower()
