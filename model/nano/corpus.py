"""Texts to set in print, made from what every machine has: the standard library's docstrings and Debian's
licences. Knows nothing of fonts.

A reader that is trained on prose alone learns the language and guesses; so three quarters of what `line_text` gives
are words in no order, numbers, and plain random characters.
"""

from __future__ import annotations

import ast
import functools
import random
import re
import string
import sysconfig
from pathlib import Path

ASCII = string.digits + string.ascii_letters + string.punctuation + " "
LATIN_1 = "".join(map(chr, range(0xA1, 0x100))).replace("\xad", "")
_LICENCES = Path("/usr/share/common-licenses")
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


@functools.cache
def corpus() -> tuple[str, ...]:
    """Words in running order, punctuation attached, printable ASCII only."""
    texts = [path.read_text("utf-8", "replace") for path in sorted(_LICENCES.glob("*")) if path.is_file()]
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_text("utf-8", "replace"))
        documented = (n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef))
        texts.extend(ast.get_docstring(node) or "" for node in documented)
    words = " ".join(texts).split()
    return tuple(w for w in words if len(w) <= 18 and w.isascii() and w.isprintable())


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Plain words of the corpus, each once, so that rare ones are as likely as common ones."""
    return tuple(sorted({w for w in corpus() if re.fullmatch("[A-Za-z][a-z]{1,13}", w)}))


def line_text(rng: random.Random, max_chars: int, latin_1: float = 0.03) -> str:
    """One line of at most max_chars characters, no space at either end and no two in a row."""
    kind = rng.random()
    if kind < 0.27:
        text = _running(rng, max_chars)
    elif kind < 0.53:
        text = _words(rng, max_chars)
    elif kind < 0.71:
        text = _figures(rng, max_chars)
    else:
        text = _random(rng, max_chars)
    if rng.random() < 0.06:
        text = text.upper()
    if rng.random() < latin_1:
        spots = rng.sample(range(len(text)), k=max(1, len(text) // 12))
        text = "".join(rng.choice(LATIN_1) if i in spots else c for i, c in enumerate(text))
    text = " ".join(text[:max_chars].split())
    return text or rng.choice(string.ascii_letters)


def _running(rng: random.Random, max_chars: int) -> str:
    words = corpus()
    start = rng.randrange(len(words) - 40)
    return " ".join(words[start : start + 40])[:max_chars]


def _words(rng: random.Random, max_chars: int) -> str:
    """Words in no order with the marks and capitals of sentences."""
    parts: list[str] = []
    length = 0
    capital = rng.random() < 0.5
    while length < max_chars:
        word = rng.choice(vocabulary())
        if rng.random() < 0.03:
            word = word.upper()
        elif capital or rng.random() < 0.1:
            word = word.capitalize()
        capital = False
        mark = rng.random()
        if mark < 0.1:
            word += ","
        elif mark < 0.17:
            word += rng.choice(".?!")
            capital = True
        elif mark < 0.2:
            word += rng.choice(";:")
        elif mark < 0.23:
            word = rng.choice(('"{}"', "({})", "'{}'", "[{}]")).format(word)
        elif mark < 0.25:
            word += rng.choice(("-", "'s", "/", " - ", " & ")) + rng.choice(vocabulary())
        elif mark < 0.31:
            word += " " + _number(rng)
        parts.append(word)
        length += len(word) + 1
    return " ".join(parts)[:max_chars]


def _number(rng: random.Random) -> str:
    form = rng.randrange(12)
    small, big = rng.randrange(100), rng.randrange(10 ** rng.randrange(2, 7))
    if form == 0:
        return str(small)
    if form == 1:
        return str(big)
    if form == 2:
        return f"{rng.choice('$$$£¥')}{big / 100:.2f}"
    if form == 3:
        return f"{small / 10:.1f}%"
    if form == 4:
        return f"{rng.randrange(24)}:{rng.randrange(60):02d}"
    if form == 5:
        return f"{rng.randrange(1, 32)} {rng.choice(_MONTHS)} {rng.randrange(1800, 2040)}"
    if form == 6:
        return f"{rng.randrange(1900, 2040)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 32):02d}"
    if form == 7:
        return f"{rng.choice(string.ascii_uppercase)}{rng.choice(('', '-', ' '))}{big}"
    if form == 8:
        return f"{big:,}"
    if form == 9:
        return f"({small})"
    if form == 10:
        return f"{rng.randrange(100, 1000)}-{rng.randrange(10000):04d}"
    return f"{rng.randrange(1, 40)}{rng.choice(('.', ')', '.' + str(rng.randrange(20))))}"


def _figures(rng: random.Random, max_chars: int) -> str:
    """Labels, dates, prices, codes: what forms and tables are full of."""
    parts: list[str] = []
    while sum(map(len, parts)) + len(parts) < max_chars:
        parts.append(_number(rng) if rng.random() < 0.6 else rng.choice(vocabulary()).capitalize())
        if rng.random() < 0.2:
            parts[-1] += rng.choice((":", ",", " -", " -", " -", " =", " +", ";", "*", " @", "#", " /"))
    return " ".join(parts)[:max_chars]


def _random(rng: random.Random, max_chars: int) -> str:
    return "".join(rng.choice(ASCII) for _ in range(rng.randint(1, max_chars)))
