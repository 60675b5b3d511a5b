"""No reply holds up the actor that serves everybody: each parser's CPU grows with the length of what it reads, and none
goes as deep as a reply would have it.

What is measured is the ratio of CPU between two lengths of the same reply, four times apart. Linear work gives four,
and work that grows with the square sixteen.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from operators.checks.check_reply import check_reply, repeats
from operators.checks.page_check import text_faults
from operators.checks.text_layer import compare
from pipelines.catalogue import bind, find, names
from schemas.errors import InvalidOutput
from schemas.spec import TaskSpec
from schemas.task import Task, View
from tests.support.languages import LATIN

CAMERA = {"fx_px": 900.0, "fy_px": 900.0, "cx_px": 1000.0, "cy_px": 500.0, "source": "given"}
PARAMETERS = {"question": "Which? A. left B. right", "intrinsics": CAMERA, "query": "a car", "elements": "[]"}
LAYER = " ".join(LATIN.values())
VIEW = View(
    *("page", 0, 2000, 1000),
    text_layer=LAYER,
    blank=False,
    start_s=0.0,
    end_s=200.0,
    times_s=(0.0, 1.0, 200.0),
    page_count=35,
    parameters=PARAMETERS,
)
OWN = {
    "object": {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "n": {"type": ["number", "null"]}}},
    "array": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}},
}


def own(kind: str) -> Task:
    return bind(TaskSpec(name=f"own_{kind}", prompt="Say it.", output=OWN[kind], units=("page",)))


REPEATED = (
    *(
        "<div>",
        "<div><p>",
        "<ul><li>",
        "<table><tr><td>",
        "<table>",
        "<td>",
        "<tr>",
        "</div>",
        "<p ",
        "<",
        "<b <b ",
        "</",
    ),
    *("<table><tr><td>x</td></tr></table>", '<tr><td rowspan="999" colspan="999">x</td></tr>', '<td colspan="999">'),
    *(
        '<div class="image"><p>',
        "<figure><figcaption>",
        "<tr><td>x",
        "&#",
        "&#1;",
        "&",
        "<!--",
        "<!-- Image (",
        "<!-- x ",
    ),
    *(
        "<!-- Image (1, 2, 3, 4) -->",
        "-->",
        "<h1>",
        "<br>",
        "<pre>",
        "<li>x",
        "<sub>",
        "<!DOCTYPE",
        "a=b ",
        "<header>x",
    ),
    *(
        "[",
        "{",
        "]",
        "}",
        "[[",
        '{"a":',
        "[{",
        '[{"a":',
        '{"a":1,',
        '{"a":[',
        '[{"bbox_2d":',
        '{"bbox_2d":[0,0,1,1],"label":"',
    ),
    *(
        '{"bbox_2d":[1,2,3,4]},',
        '{"bbox_2d":[1,2,3,4],"a":',
        '{"bbox_2d": "a", ',
        "[1,2,3,4],",
        '{"x":{"bbox_2d":',
        "{}",
        "[],",
    ),
    *(
        '"',
        "\\",
        '\\"',
        '"\\',
        '"a',
        '": "',
        "'",
        "“",
        '"bbox_2d":',
        "bbox_2d:",
        '"label"',
        '{"label": "a"',
        "\\u",
        ",",
        ":",
    ),
    *(
        "```",
        "``` ",
        "```\n",
        "```json\n",
        "~~~\n",
        "```html\n<",
        "```python\nx = 1\n",
        "|",
        "| a ",
        "|---|\n",
        "| a |\n|---|\n",
    ),
    *(
        "|a|b|\n",
        "--|",
        "\n",
        " ",
        "\t",
        "a",
        "a ",
        "ab cd ",
        "# ",
        "#",
        "$",
        "$$",
        "$$a$$\n",
        "\\[",
        "\\(",
        "\\begin{tabular}",
    ),
    *(
        "\\begin{table}\\end{tabular}\n",
        "\\begin{tabular}a\\end{tabular}\n",
        "\\\\",
        "\\\\[",
        "\\cline(",
        "\\caption{",
        "\\frac{",
    ),
    *(
        "![",
        "](",
        "![a](b)",
        "* ",
        "- a\n",
        "1. a\n",
        "<think>",
        "</think>",
        "\\boxed{",
        "answer is ",
        "Answer: ",
        "\nAnswer: a",
    ),
    *(
        "The answer is ",
        "Final Answer: ",
        "1 - ",
        "00:",
        "00:01 - ",
        "00:01 - 00:02: a\n",
        "12 ",
        "12 s ",
        "<1> ",
        "page 1, ",
    ),
    *(
        "pages 1-2, ",
        "第1页",
        "第",
        "image 1",
        "A. ",
        "(A) ",
        "A",
        "option A",
        "<tool_call>",
        "<tool_call>{",
        '{"name":',
        "Thought:",
    ),
    *(
        "Action: ",
        "1",
        "0.",
        "-",
        '"start": 1, ',
        '{"start":1,"end":2},',
        '{"start":1,"end":2,"text":"',
        "import a\n",
        "<svg>",
        "<html>",
    ),
    *(
        "</html>",
        "<mxfile>",
        "</mxfile>",
        "\r\n",
        "\ufffd",
        "é",
        "中",
        "1,",
        "no ",
        "sorry ",
        "I cannot ",
        "_",
        "*",
        "**",
        "=",
        ". ",
        "... ",
    ),
    *(
        "<function=computer_use><parameter=x>",
        "</function>",
        "00:01",
        "[00:01 - ",
        "seconds ",
        "(1, 2), ",
        "{'a': ",
        "“a”: ",
    ),
)
AROUND = {
    # a beginning, what is repeated, an end
    "a long attribute": ("<p ", "a", ">"),
    "a long class": ('<div class="', "a ", '">' + "<p>" * 500),
    "a long number": ("&#", "9", ";"),
    "a long plain number": ('{"n": ', "9", "}"),
    "a long string": ('{"bbox_2d": "', "a", ""),
    "a long string with escapes": ('{"a": "', '\\"', ""),
    "blanks in a heading": ("# a", " ", "b"),
    "signs in a heading": ("# a", "#", "b"),
    "blanks in a formula": ("$$a", " ", "b"),
    "blanks after a fence": ("```", " ", "a"),
    "blanks before an item": ("", " ", "- a"),
    "a wide table": ("", "| a ", "|\n" + "|---" * 20 + "|\n" + "| b |\n" * 500),
    "a table of one wide row": ("<table><tr>", "<td>x</td>", "</tr>" + "<tr><td>y</td></tr>" * 500 + "</table>"),
    "text in nested tables": ("<table><tr><td>" * 50, "word ", ""),
    "text in nested lists": ("<ul><li>" * 50, "word ", ""),
    "text in nested figures": ('<div class="chart"><figcaption>' * 50, "word ", ""),
    "an object that is cut": ('{"a": "b", ', '"c": "d", ', ""),
    "a list that is cut": ("[", '{"bbox_2d": [1, 2, 3, 4], "label": "a"}, ', '{"bbox'),
    "blanks between": ("a", " ", "b"),
    "blanks before a colon": ('"label"', " ", ":"),
    "a time": ("", "1", ":"),
    "blanks after a time": ("0:01", " ", "b"),
    "lines after a time": ("0:01", "\n", ""),
    "blanks after a number": ("1", " ", "- 2"),
    "an escaped text": ('{"label": "', '\\\\"', '"}'),
    "words of the page": ("", LAYER[:400] + "\n", ""),
    "one word of the page": ("", "the ", LAYER),
    "the page's letters": (LAYER, "a b c d e f g h ", ""),
}
SHAPES: dict[str, Callable[[int], str]] = {
    **{repr(unit): lambda n, unit=unit: (unit * (n // len(unit) + 1))[:n] for unit in REPEATED},  # type: ignore[misc]
    **{
        name: lambda n, parts=parts: parts[0] + (parts[1] * (n // len(parts[1]) + 1))[:n] + parts[2]  # type: ignore[misc]
        for name, parts in AROUND.items()
    },
}
PARSERS = (*names(), "own_object", "own_array", "repeats", "text_faults", "compare")
MOST_CPU_S = 30.0
"""Of one reply. Beyond it a parser is said to have no end."""
UNSEEN_S = 0.1
"""CPU below which a reply holds up nobody, and its ratio says nothing."""
MOST_RATIO = 9.0


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raises TimeoutError when that CPU time is used up."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"no end within {seconds:.0f} s of CPU")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def parser_of(name: str) -> Callable[[str], object]:
    """What an actor does with a reply: it reads and checks it. Anything raised but InvalidOutput ends the test."""
    plain: dict[str, Callable[[str], object]] = {
        "repeats": repeats,
        "text_faults": lambda reply: text_faults(reply, VIEW),
        "compare": lambda reply: compare(LAYER, reply),
    }
    if name in plain:
        return plain[name]
    task = own(name.removeprefix("own_")) if name.startswith("own_") else find(name)

    def read(reply: str) -> None:
        parsed: object
        try:
            parsed = task.parse(reply, VIEW)
        except InvalidOutput as error:
            parsed = error
        checked = check_reply(task, VIEW, "", parsed, cut=False)  # `repeats` has a turn of its own
        assert checked.failure is None or checked.failure.kind in ("unparsable", "refused"), checked.failure

    return read


def cpu_s(parse: Callable[[str], object], reply: str) -> float:
    compare.cache_clear()
    start = time.process_time()
    with bounded(MOST_CPU_S):
        parse(reply)
    return time.process_time() - start


@pytest.mark.parametrize("name", PARSERS)
def test_the_work_grows_with_the_reply(name: str, amount: Callable[[int, int], int]) -> None:
    parse = parser_of(name)
    short, long = amount(4 << 10, 64 << 10), amount(16 << 10, 256 << 10)
    slow = []
    every = amount(12, 3)  # small, another twelfth for each parser
    for shape, make in list(SHAPES.items())[PARSERS.index(name) % every :: every]:
        try:
            seconds = cpu_s(parse, make(long))
            if seconds <= UNSEEN_S:
                continue
            ratios = [seconds / max(cpu_s(parse, make(short)), UNSEEN_S / 4)]
            while ratios[-1] > MOST_RATIO and len(ratios) < 3:
                ratios.append(cpu_s(parse, make(long)) / max(cpu_s(parse, make(short)), UNSEEN_S / 4))
        except Exception as error:  # noqa: BLE001  every shape is to be named
            slow.append(f"{shape}: {type(error).__name__} {error}"[:200])
        else:
            if min(ratios) > MOST_RATIO:
                slow.append(f"{shape}: {min(ratios):.0f} times the CPU for four times the reply")
    assert not slow, "\n".join(slow)
