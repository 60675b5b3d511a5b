"""Pages whose words are known, each with readings that are right and readings that are wrong: prose in columns, tables,
forms, invoices, receipts, lists, formulas, titles of a few words, in several languages. All by seed."""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.support.languages import WESTERN
from tests.support.layer_pages import WORDS, prose
from tests.support.pdf_sheet import Sheet

Kind = str
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass
class Block:
    """kind: heading, text, item, table, formula or furniture (what stands around a page's text). lines: as they are
    printed; rows: of a table. latex: how a model writes a formula."""

    kind: Kind
    lines: list[str]
    rows: list[list[str]] = field(default_factory=list)
    latex: str = ""


@dataclass
class Page:
    kind: Kind
    pdf: bytes
    blocks: list[Block]


def pages(count: int, seed: int = 0) -> Iterator[Page]:
    """Of every kind in turn."""
    kinds = list(KINDS)
    for index in range(count):
        kind = kinds[index % len(kinds)]
        yield Page(kind, *_drawn(KINDS[kind], random.Random(f"{seed} {index}")))


def _drawn(make: Callable[[random.Random, Sheet], list[Block]], dice: random.Random) -> tuple[bytes, list[Block]]:
    sheet = Sheet()
    blocks = make(dice, sheet)
    return sheet.pdf(), blocks


# pages


def _money(dice: random.Random) -> str:
    amount = f"{dice.randint(0, 9999)}.{dice.randint(0, 99):02d}"
    return f"{float(amount):,.2f}" if dice.random() < 0.7 else amount


def _date(dice: random.Random) -> str:
    day, month, year = dice.randint(10, 28), dice.randint(1, 12), dice.randint(1950, 2030)
    return dice.choice([f"{day}/{month:02d}/{year}", f"{year}-{month:02d}-{day}", f"{day}.{month:02d}.{year}"])


def _name(dice: random.Random, words: int = 2) -> str:
    return " ".join(dice.choices(WORDS, k=words)).title()


def _text(dice: random.Random, lines: int, width: int) -> list[str]:
    if dice.random() < 0.4:
        text = " ".join(dice.choices(list(WESTERN.values()), k=4))
        return textwrap.wrap(text, width)[:lines]
    text = " ".join(prose(dice, lines + 4, width))
    text = re.sub(r"\b1874\b", lambda _: dice.choice([_date(dice), str(dice.randint(1000, 99999)), _money(dice)]), text)
    return textwrap.wrap(text, width)[:lines]


def _put(sheet: Sheet, lines: list[str], x: float, y: float, *, size: float = 10, step: float = 1.4) -> float:
    for line in lines:
        sheet.line(line, x, y, size=size)
        y -= size * step
    return y - size


def _furniture(dice: random.Random, sheet: Sheet) -> list[Block]:
    blocks = []
    if dice.random() < 0.5:
        head = f"{_name(dice)} {dice.randint(1990, 2030)}"
        sheet.line(head, 60, 765, size=8)
        blocks.append(Block("furniture", [head]))
    if dice.random() < 0.6:
        number = str(dice.randint(1, 400))
        sheet.line(number, 300, 30, size=8)
        blocks.append(Block("furniture", [number]))
    return blocks


def _columns(dice: random.Random, sheet: Sheet) -> list[Block]:
    title = _name(dice, 4)
    sheet.line(title, 60, 730, size=18)
    blocks = [Block("heading", [title])]
    count = dice.choice([1, 2, 2, 3])
    width = {1: 84, 2: 40, 3: 25}[count]
    for column in range(count):
        y = 690.0
        for _ in range(dice.randint(1, 3)):
            lines = _text(dice, dice.randint(3, 8), width)
            y = _put(sheet, lines, 60 + column * 504 / count, y)
            blocks.append(Block("text", lines))
    return blocks + _furniture(dice, sheet)


def _hyphenated(dice: random.Random, sheet: Sheet) -> list[Block]:
    """Words broken at the ends of lines, ligatures, quotes and dashes."""
    text = " ".join(
        [*prose(dice, 6), "The efficient office fixed “five” baffling flaws – their first effort, 1,204 of 37."]
    )
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) > 44 and len(word) > 5 and word.isalpha():
            lines.append(f"{line}{word[:3]}-")
            line = word[3:] + " "
        elif len(line) + len(word) > 56:
            lines.append(line.strip())
            line = word + " "
        else:
            line += word + " "
    lines.append(line.strip())
    _put(sheet, lines, 60, 700)
    return [Block("text", lines), *_furniture(dice, sheet)]


def _table_rows(dice: random.Random, sheet: Sheet, rows: list[list[str]], y: float) -> float:
    widths = [max(len(row[column]) for row in rows) * 5.6 + 24 for column in range(len(rows[0]))]
    for row in rows:
        for column, cell in enumerate(row):
            sheet.line(cell, 60 + sum(widths[:column]), y, size=10)
        y -= 16
    return y - 12


def _tables(dice: random.Random, sheet: Sheet) -> list[Block]:
    title = _name(dice, 3)
    sheet.line(title, 60, 730, size=16)
    heads = dice.choices(WORDS, k=dice.randint(3, 5))
    rows = [heads, *([dice.choice(WORDS), *(_money(dice) for _ in heads[1:])] for _ in range(dice.randint(3, 14)))]
    if dice.random() < 0.3:
        rows = [[str(dice.randint(0, 99)) for _ in heads] for _ in rows]
    y = _table_rows(dice, sheet, rows, 690)
    note = _text(dice, 3, 80)
    _put(sheet, note, 60, y)
    return [Block("heading", [title]), Block("table", [], rows), Block("text", note), *_furniture(dice, sheet)]


def _forms(dice: random.Random, sheet: Sheet) -> list[Block]:
    labels = dice.sample(
        ["Name", "Street", "Town", "Born", "Number", "Phone", "Account", "Valid until", "Nationality"], 7
    )
    blocks = [Block("heading", [f"Application {dice.randint(100, 999)}"])]
    sheet.line(blocks[0].lines[0], 60, 740, size=16)
    for number, label in enumerate(labels):
        value = dice.choice(
            [_name(dice), _date(dice), f"{dice.randint(10**6, 10**9)}", f"{_name(dice, 1)} {dice.randint(1, 200)}"]
        )
        sheet.line(f"{label}:", 60, 700 - 30 * number, size=11)
        sheet.line(value, 200, 700 - 30 * number, size=11)
        blocks.append(Block("text", [f"{label}: {value}"]))
    return blocks


def _invoices(dice: random.Random, sheet: Sheet) -> list[Block]:
    number, date = f"INV-{dice.randint(1000, 99999)}", _date(dice)
    address = [
        _name(dice),
        f"{dice.randint(1, 300)} {_name(dice, 1)} Street",
        f"{dice.randint(10000, 99999)} {_name(dice, 1)}",
    ]
    _put(sheet, address, 60, 740)
    terms = [f"Invoice {number}", f"Date {date}"]
    _put(sheet, terms, 400, 740)
    rows = [["item", "count", "price", "amount"]]
    rows += [
        [" ".join(dice.choices(WORDS, k=2)), str(dice.randint(1, 40)), _money(dice), _money(dice)]
        for _ in range(dice.randint(2, 12))
    ]
    y = _table_rows(dice, sheet, rows, 660)
    total = [f"Total {_money(dice)}", f"Tax {dice.randint(5, 25)}%", f"Due {_date(dice)}"]
    _put(sheet, total, 380, y)
    return [Block("text", address), Block("text", terms), Block("table", [], rows), Block("text", total)]


def _receipts(dice: random.Random, sheet: Sheet) -> list[Block]:
    head = [_name(dice), f"Tel {dice.randint(10**6, 10**8)}"]
    rows = [[dice.choice(WORDS), _money(dice)] for _ in range(dice.randint(2, 9))]
    y = _table_rows(dice, sheet, rows, _put(sheet, head, 60, 740))
    foot = [f"TOTAL {_money(dice)}", f"{_date(dice)} {dice.randint(10, 23)}:{dice.randint(10, 59)}"]
    _put(sheet, foot, 60, y)
    return [Block("text", head), Block("table", [], rows), Block("text", foot)]


def _lists(dice: random.Random, sheet: Sheet) -> list[Block]:
    title = _name(dice, 2)
    sheet.line(title, 60, 730, size=16)
    blocks = [Block("heading", [title])]
    numbered = dice.random() < 0.5
    y = 700.0
    for number in range(dice.randint(3, 12)):
        mark = f"{number + 1}." if numbered else "•"
        words = " ".join(dice.choices(WORDS, k=dice.randint(2, 8)))
        line = f"{mark} {words} {dice.choice(['', dice.randint(2, 5000)])}".strip()
        sheet.line(line, 60, y, size=11)
        y -= 18
        blocks.append(Block("item", [line]))
    return blocks + _furniture(dice, sheet)


def _formulas(dice: random.Random, sheet: Sheet) -> list[Block]:
    blocks = []
    y = 720.0
    for _ in range(3):
        lines = _text(dice, 3, 80)
        y = _put(sheet, lines, 60, y)
        a, b, c = (dice.randint(2, 99) for _ in range(3))
        sheet.line("x", 200, y, size=11)
        sheet.line("2", 206, y + 4, size=7)
        sheet.line(f"= {a} y + {b} / {c}", 214, y, size=11)
        y -= 30
        blocks += [
            Block("text", lines),
            Block("formula", [f"x2 = {a} y + {b} / {c}"], latex=f"x^{{2}} = {a} y + \\frac{{{b}}}{{{c}}}"),
        ]
    return blocks


def _short(dice: random.Random, sheet: Sheet) -> list[Block]:
    """One to ten words."""
    lines = dice.choice(
        [
            lambda: [_name(dice, dice.randint(1, 3))],
            lambda: [f"Chapter {dice.randint(1, 40)}", _name(dice, 3)],
            lambda: [_name(dice, 2), f"{_name(dice, 1)} {dice.randint(1900, 2030)}"],
            lambda: [
                f"{dice.choice(WORDS).title()} of the {dice.choice(WORDS)}",
                f"and {dice.choice(WORDS)}s, {_date(dice)}",
            ],
            lambda: [str(dice.randint(1, 999))],
            lambda: [f"Total {_money(dice)}"],
        ]
    )()
    _put(sheet, lines, 100, 600, size=20)
    return [Block("text", lines)]


KINDS: dict[str, Callable[[random.Random, Sheet], list[Block]]] = {
    maker.__name__.strip("_"): maker
    for maker in (_columns, _hyphenated, _tables, _forms, _invoices, _receipts, _lists, _formulas, _short)
}

# right readings


def _printed(block: Block) -> list[str]:
    return [" ".join(row) for row in block.rows] if block.rows else block.lines


def _reflowed(lines: list[str]) -> str:
    """One paragraph, words that were broken put together."""
    return re.sub(r"(?<=[a-z])- (?=[a-z])", "", " ".join(lines))


def plain(page: Page, _: random.Random) -> str:
    return "\n".join(line for block in page.blocks for line in _printed(block))


def paragraphs(page: Page, _: random.Random) -> str:
    return "\n\n".join(
        "\n".join(_printed(block)) if block.kind != "text" or len(block.lines) < 3 else _reflowed(block.lines)
        for block in page.blocks
    )


def markdown(page: Page, _: random.Random) -> str:
    parts = []
    for block in page.blocks:
        if block.kind == "heading":
            parts.append(f"# {block.lines[0]}")
        elif block.rows:
            head, *rows = (f"| {' | '.join(row)} |" for row in block.rows)
            parts.append("\n".join([head, "|" + " --- |" * len(block.rows[0]), *rows]))
        elif block.kind == "item":
            parts.append(block.lines[0].replace("•", "-"))
        elif block.kind == "formula":
            parts.append(f"$$\n{block.latex}\n$$")
        elif block.kind == "text":
            parts.append(
                _reflowed(block.lines) if len(block.lines) > 2 else "\n".join(f"**{line}**" for line in block.lines)
            )
        else:
            parts.append("\n".join(block.lines))
    return "\n\n".join(parts)


def in_html(page: Page, _: random.Random) -> str:
    parts = []
    for block in page.blocks:
        if block.kind == "heading":
            parts.append(f"<h1>{block.lines[0]}</h1>")
        elif block.rows:
            rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in block.rows)
            parts.append(f'<table border="1">{rows}</table>')
        elif block.kind == "item":
            mark, _, text = block.lines[0].partition(" ")
            parts.append(
                f"<{'ol' if mark[0].isdigit() else 'ul'}><li>{text}</li></{'ol' if mark[0].isdigit() else 'ul'}>"
            )
        elif block.kind == "formula":
            parts.append(f'<div class="formula">${block.latex}$</div>')
        else:
            parts.append(f"<p>{'<br>'.join(block.lines)}</p>")
    return "<html><body>\n" + "\n".join(parts) + "\n</body></html>"


def in_another_order(page: Page, dice: random.Random) -> str:
    """The blocks from one on first, or the last one first."""
    cut = dice.choice([1, len(page.blocks) - 1, len(page.blocks) // 2])
    if len(page.blocks) < 2 or all(block.kind == "item" for block in page.blocks[1:]):
        cut = 0
    return plain(Page(page.kind, b"", page.blocks[cut:] + page.blocks[:cut]), dice)


def without_furniture(page: Page, dice: random.Random) -> str:
    return plain(Page(page.kind, b"", [block for block in page.blocks if block.kind != "furniture"]), dice)


def in_other_signs(page: Page, dice: random.Random) -> str:
    """Ligatures, quotes and dashes of another kind."""
    signs = {"ffi": "ﬃ", "fi": "ﬁ", "fl": "ﬂ", "“": '"', "”": '"', "–": "-", "•": "*", "'": "’", "...": "…"}
    text = markdown(page, dice) if page.kind != "formulas" else plain(page, dice)
    for sign, other in signs.items():
        text = text.replace(sign, other)
    return text


RIGHT: tuple[Callable[[Page, random.Random], str], ...] = (
    *(plain, paragraphs, markdown, in_html, in_another_order, without_furniture, in_other_signs),
)

# wrong readings; None where a page has nothing of the kind


def wrong_number(page: Page, dice: random.Random) -> str | None:
    text = dice.choice((plain, markdown, paragraphs))(page, dice)
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    number = dice.choice(numbers)
    place = dice.choice([place for place, char in enumerate(number[0]) if char.isdigit()])
    digit = dice.choice([digit for digit in "0123456789" if digit != number[0][place]])
    return text[: number.start() + place] + digit + text[number.start() + place + 1 :]


def shuffled(page: Page, dice: random.Random) -> str | None:
    words = plain(page, dice).split()
    mixed = list(words)
    dice.shuffle(mixed)
    return " ".join(mixed) if len(words) > 4 and mixed != words else None


def reversed_lines(page: Page, dice: random.Random) -> str | None:
    lines = plain(page, dice).split("\n")
    return "\n".join(reversed(lines)) if len(lines) > 2 else None


def _invented(dice: random.Random) -> str:
    return "".join(dice.choices("bcdfghklmnprstvz", k=4)) + dice.choice(["ation", "ity", "er", "ing", "ous"])


def invented_words(page: Page, dice: random.Random) -> str | None:
    """A tenth of the words, in place of others or between them."""
    words = dice.choice((plain, markdown))(page, dice).split(" ")
    for place in sorted(dice.sample(range(len(words)), max(1, len(words) // 10)), reverse=True):
        words[place : place + dice.choice([0, 1])] = [_invented(dice)]
    return " ".join(words)


WRONG: tuple[Callable[[Page, random.Random], str | None], ...] = (
    wrong_number,
    shuffled,
    reversed_lines,
    invented_words,
)
