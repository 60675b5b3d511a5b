"""Pages that say what they show, each with its right reading: drawn by seed, of every kind that has made a right
reading look wrong. `KINDS` names them."""

from __future__ import annotations

import random
import textwrap
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.support.languages import ALL, CYRILLIC, LATIN, OTHERS, RIGHT_TO_LEFT, WESTERN
from tests.support.pdf_sheet import Sheet, escaped, stream, text_of

WORDS = [
    *("harbour", "lantern", "meadow", "winter", "copper", "letter", "garden", "river", "seven", "bridge", "office"),
    *("market", "window", "quiet", "silver", "paper", "stone", "ferry", "ticket", "morning", "village", "orchard"),
    *(
        "thunder",
        "blanket",
        "kitchen",
        "saddle",
        "velvet",
        "marble",
        "anchor",
        "pocket",
        "summer",
        "charter",
        "journey",
    ),
    *("kettle", "mirror", "needle", "oyster", "pigeon", "quarter", "ribbon", "shelter", "timber", "uncle", "valley"),
    *("whistle", "yellow", "account", "budget", "council", "deputy", "estate", "fixture", "grounds", "holiday"),
    *("invoice", "justice", "keeper", "ledger", "member", "notice"),
]
FONTS = ("Helvetica", "Times-Roman", "Courier", "Helvetica-Bold", "Times-Italic")


@dataclass(frozen=True)
class Case:
    """unfit: what the file says of the page is not what it shows, and the row is to say so. empty: nothing is shown."""

    kind: str
    pdf: bytes
    reading: str
    unfit: bool = False
    empty: bool = False


def cases(count: int, seed: int = 0) -> Iterator[Case]:
    """Of every kind in turn."""
    kinds = list(KINDS)
    for index in range(count):
        kind = kinds[index % len(kinds)]
        yield KINDS[kind](kind, random.Random(f"{seed} {index}"))


def prose(dice: random.Random, lines: int = 8, width: int = 56) -> list[str]:
    """Lines of sentences."""
    text = ""
    while len(text) < lines * width * 2:
        sentence = " ".join(dice.choices(WORDS, k=dice.randint(6, 12)))
        text += sentence.capitalize() + dice.choice([". ", ". ", ", 1874. ", "; (17) "])
    return textwrap.wrap(text, width)[:lines]


def article(text: str, width: int = 58) -> list[str]:
    """Lines of a text that may have no blanks."""
    return textwrap.wrap(text, width if " " in text else 24)


def write(
    sheet: Sheet, lines: Sequence[str], dice: random.Random, *, y: float = 700, how: bytes = b"", **more: float
) -> None:
    font, size = dice.choice(FONTS), dice.choice([9, 10, 12, 14])
    for number, line in enumerate(lines):
        sheet.line(line, more.get("x", 60), y - number * size * 1.4, size=size, font=font, how=how)


def glyph(char: str) -> str:
    """Of a standard font, as high and as deep as the letter."""
    plain = unicodedata.normalize("NFD", char)[0]
    if plain.isascii() and plain.isalpha():
        return plain
    if "\u0400" <= plain <= "\u04ff":
        if plain in "руфцщд":
            return "p"
        return "H" if plain.isupper() or plain in "бћђ" else "x"
    signs = {
        ",": "comma",
        ".": "period",
        "-": "hyphen",
        "'": "quotesingle",
        ";": "semicolon",
        "(": "parenleft",
        ")": "parenright",
    }
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    return digits[int(plain)] if plain.isdigit() and plain.isascii() else signs.get(plain, "n")


def write_mapped(
    sheet: Sheet,
    lines: Sequence[Sequence[str]],
    *,
    y: float = 700,
    size: float = 13,
    name: str = "M",
    said: Callable[[str], str] = lambda piece: piece,
    spacing: bytes = b"",
) -> None:
    """Lines of pieces, each of which one glyph stands for. said: what the font says that a piece is."""
    pieces = sorted({piece for line in lines for piece in line} - {" "})
    fonts = [pieces[start : start + 180] for start in range(0, len(pieces), 180)]
    code = {}
    for number, some in enumerate(fonts):
        sheet.mapped(f"{name}{number}", [(glyph(piece[0]), said(piece)) for piece in some])
        code |= {piece: (number, 33 + place) for place, piece in enumerate(some)}
    for number, line in enumerate(lines):
        shown, font = bytes(code.get(piece, (0, 32))[1] for piece in line), {code[p][0] for p in line if p in code}
        assert len(font) <= 1, "too many letters for one font"
        sheet.show(shown, 60, y - number * size * 1.5, size=size, font=f"{name}{(font or {0}).pop()}", how=spacing)


# what is sound and shown


def plain(kind: str, dice: random.Random) -> Case:
    sheet = Sheet()
    lines = article(WESTERN[dice.choice(list(WESTERN))]) if dice.random() < 0.5 else prose(dice)
    write(sheet, lines, dice)
    return Case(kind, sheet.pdf(), "\n".join(lines))


def turned(kind: str, dice: random.Random) -> Case:
    """Pages turned by their key, or print that runs up or down the page."""
    lines = prose(dice, 6)
    sheet = Sheet(page=b"/Rotate %d" % dice.choice([90, 180, 270, -90, 450]))
    if dice.random() < 0.4:
        sheet, turn = Sheet(page=b"/Rotate 90" if dice.random() < 0.5 else b""), dice.choice([b"0 1 -1 0", b"0 -1 1 0"])
        for number, line in enumerate(lines):
            start = (100 + 18 * number, 60) if turn == b"0 1 -1 0" else (500 - 18 * number, 740)
            sheet.show(line.encode(), *start, turn=turn)
    else:
        write(sheet, lines, dice)
    return Case(kind, sheet.pdf(), "\n".join(lines))


def other_scripts(kind: str, dice: random.Random) -> Case:
    sheet = Sheet()
    texts = {**LATIN, **CYRILLIC, **OTHERS}
    lines = article(texts[dice.choice(list(texts))])
    write_mapped(sheet, lines)
    return Case(kind, sheet.pdf(), "\n".join(lines))


def right_to_left(kind: str, dice: random.Random) -> Case:
    """Lam and alef are one glyph; the content runs as the eye sees it, from the left."""
    lines = article(RIGHT_TO_LEFT[dice.choice(list(RIGHT_TO_LEFT))])
    sheet = Sheet()
    pieces = []
    for line in lines:
        row: list[str] = []
        for char in line:
            if char in "اأإآ" and row and row[-1] == "ل":
                row[-1] += char
            else:
                row.append(char)
        pieces.append(row[::-1])
    write_mapped(sheet, pieces)
    return Case(kind, sheet.pdf(), "\n".join(lines))


def ligatures(kind: str, dice: random.Random) -> Case:
    text = "The efficient office staff fixed five baffling flaws; their first effort left a fine flat surface. "
    lines = textwrap.wrap(text * 2 + " ".join(prose(dice, 3)), 56)
    said = {"ffi": "ﬃ", "ffl": "ﬄ", "ff": "ﬀ", "fi": "ﬁ", "fl": "ﬂ"} if dice.random() < 0.5 else {}
    pieces = []
    for line in lines:
        row, place = [], 0
        while place < len(line):
            size = next((n for n in (3, 2) if line[place : place + n] in ("ffi", "ffl", "ff", "fi", "fl")), 1)
            row.append(line[place : place + size])
            place += size
        pieces.append(row)
    sheet = Sheet()
    write_mapped(sheet, pieces, said=lambda piece: said.get(piece, piece))
    return Case(kind, sheet.pdf(), "\n".join(lines))


def hyphens(kind: str, dice: random.Random) -> Case:
    """Words broken at the end of a line, by a hyphen or a soft one; read as they stand or joined."""
    words = " ".join(prose(dice, 6)).split()
    sign = dice.choice(["-", "\xad"])
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 44 and len(word) > 5 and word.isalpha():
            lines.append(f"{line}{word[:3]}{sign}")
            line = word[3:] + " "
        else:
            line += word + " "
    lines.append(line.strip())
    sheet = Sheet()
    write(sheet, lines, dice)
    shown = "\n".join(lines).replace("\xad", "-")
    return Case(kind, sheet.pdf(), shown if dice.random() < 0.5 else " ".join(words))


def letter_spaced(kind: str, dice: random.Random) -> Case:
    """By an operator, by blanks between the letters, or each letter placed."""
    lines = prose(dice, 6, 34)
    sheet = Sheet()
    way = dice.choice(["operator", "blanks", "places"])
    if way == "operator":
        write(sheet, lines, dice, how=b"%g Tc" % dice.choice([2, 4, 6, 9]))
    elif way == "blanks":
        write(sheet, ["  ".join(" ".join(word) for word in line.split()) for line in lines], dice)
    else:
        for number, line in enumerate(lines):
            for place, char in enumerate(line):
                if char != " ":
                    sheet.line(char, 40 + 15 * place, 700 - 24 * number, size=12, font="Courier")
    return Case(kind, sheet.pdf(), "\n".join(lines))


def small_signs(kind: str, dice: random.Random) -> Case:
    """Notes set high, chemical formulas set low, and columns."""
    sheet = Sheet()
    left, right = prose(dice, 8, 26), prose(dice, 8, 26)
    for number, (one, other) in enumerate(zip(left, right, strict=True)):
        sheet.line(one, 50, 700 - 16 * number, size=10)
        sheet.show(b"%d" % number, 52 + 5.2 * len(one), 704 - 16 * number, size=6)
        sheet.line(other, 320, 700 - 16 * number, size=10)
    reading = [f"{line}{number}" if dice.random() < 0.5 else f"{line} {number}" for number, line in enumerate(left)]
    return Case(kind, sheet.pdf(), "\n".join([*reading, *right]))


def odd_but_sound(kind: str, dice: random.Random) -> Case:
    """Part numbers, hexadecimal digits, tables of figures, code, leaders of dots, capitals."""
    make: Callable[[], str] = dice.choice(
        [
            lambda: " ".join("".join(dice.choices("BCDFGHJKLMPQVWXZ0123456789", k=8)) for _ in range(6)),
            lambda: " ".join("".join(dice.choices("0123456789abcdef", k=8)) for _ in range(6)),
            lambda: "   ".join(f"{dice.random() * 1000:.2f}" for _ in range(8)),
            lambda: "if (x[i] != y->q && !(w & 0x3f)) { v += *p++; } // " + dice.choice(WORDS),
            lambda: dice.choice(WORDS) + " " + "." * 30 + f" {dice.randint(1, 99)}",
            lambda: " ".join(dice.choices(WORDS, k=7)).upper(),
            lambda: "".join(dice.choices("ACGT", k=50)),
            lambda: "0.00   0.00   0.00   0.00   0.00   0.00",
        ]
    )
    lines = [make() for _ in range(12)]
    sheet = Sheet()
    write(sheet, lines, dice)
    return Case(kind, sheet.pdf(), "\n".join(lines))


def twice(kind: str, dice: random.Random) -> Case:
    """Bold and shadows by drawing again: line for line, all of it, or letter for letter."""
    lines = prose(dice, 6, 48)
    sheet = Sheet()
    size, off = dice.choice([10, 12, 18]), dice.choice([0, 0.02, 0.04, 0.08])
    dx, dy = off * size, dice.choice([0, -off * size])
    way = dice.choice(["lines", "pages", "letters", "three times"])
    places = [(60.0, 700.0 - 1.4 * size * number) for number in range(len(lines))]
    if way == "letters":
        for line, (x, y) in zip(lines, places, strict=True):
            for number, char in enumerate(line):
                for again in (0, 1):
                    if char != " ":
                        sheet.line(
                            char,
                            x + 0.6 * size * number + again * (dx or 0.3),
                            y + again * dy,
                            size=size,
                            font="Courier",
                        )
    elif way == "lines":
        for line, (x, y) in zip(lines, places, strict=True):
            sheet.line(line, x, y, size=size)
            sheet.line(line, x + dx, y + dy, size=size)
    else:
        for again in range(3 if way == "three times" else 2):
            for line, (x, y) in zip(lines, places, strict=True):
                sheet.line(line, x + again * dx, y + again * dy, size=size)
    return Case(kind, sheet.pdf(), "\n".join(lines))


def accents(kind: str, dice: random.Random) -> Case:
    """As TeX's older fonts set them: the accent, then the letter under it, back where that began."""
    language = dice.choice(["fr", "es", "pt", "it", "sv", "de", "cs", "ro", "hu"])
    lines = article(LATIN[language], 50)
    drawn = {
        "\u0300": "`",
        "\u0301": "´",
        "\u0302": "ˆ",
        "\u0303": "˜",
        "\u0308": "¨",
        "\u0327": "¸",
        "\u030c": "ˇ",
        "\u030a": "˚",
        "\u0306": "˘",
        "\u030b": "˝",
    }
    names = {
        "`": "grave",
        "´": "acute",
        "ˆ": "circumflex",
        "˜": "tilde",
        "¨": "dieresis",
        "¸": "cedilla",
        "ˇ": "caron",
        "˚": "ring",
        "˘": "breve",
        "˝": "hungarumlaut",
    }
    sheet = Sheet()
    sheet.mapped("A", [(names[sign], sign) for sign in names])
    kept = []
    for number, line in enumerate(lines):
        x, y = 60.0, 700.0 - 20 * number
        text = ""
        for char in line:
            base, *marks = unicodedata.normalize("NFD", char)
            if not base.isascii() or any(mark not in drawn for mark in marks):
                base, marks = "o", []
                text += base
            else:
                text += char
            for mark in marks:
                high = 3.3 if base.isupper() and mark != "\u0327" else 0
                sheet.show(
                    bytes([33 + list(names).index(drawn[mark])]),
                    x + (1.8 if mark == "\u030a" else 1.7),
                    y + high,
                    size=12,
                    font="A",
                )
            sheet.line(base, x, y, size=12, font="Courier")
            x += 7.2
        kept.append(text)
    return Case(kind, sheet.pdf(), "\n".join(kept))


def colored(kind: str, dice: random.Random) -> Case:
    ground, color = dice.choice(
        [
            (None, b"1 1 0"),
            (None, b"0 1 1"),
            (None, b"0.86 0.86 0.86"),
            (b"0 0 0", b"1 0 0"),
            (b"0 0 0", b"0 0 1"),
            (b"0 0 1", b"1 0 0"),
        ]
    )
    sheet = Sheet()
    if ground:
        sheet.draw(ground + b" rg 0 0 612 792 re f")
    lines = prose(dice, 8)
    write(sheet, lines, dice, how=color + b" rg")
    return Case(kind, sheet.pdf(), "\n".join(lines))


def page_number(kind: str, dice: random.Random) -> Case:
    number = dice.choice(["1", "i", "7", "12", "iii", "- 4 -", "I", "A"])
    sheet = Sheet()
    sheet.line(
        number,
        dice.choice([60, 300, 540]),
        dice.choice([30, 760]),
        size=dice.choice([9, 10, 12]),
        font=dice.choice(FONTS),
    )
    return Case(kind, sheet.pdf(), number)


def filled_form(kind: str, dice: random.Random) -> Case:
    """Fields with an appearance and without, choices, several lines, one that is hidden."""
    sheet = Sheet()
    font = sheet.fonts[sheet.standard("Helvetica")]
    labels = ["Name:", "Street:", "Town:", "Remarks:", "Kind:"]
    reading, fields = [], []
    for number, label in enumerate(labels):
        y = 700 - 60 * number
        value = " ".join(dice.choices(WORDS, k=5))
        sheet.line(label, 60, y, size=14)
        more = b"/DA (/Helvetica 12 Tf 0 g) /F 4"
        if number == 4:
            options = [value, *(" ".join(dice.choices(WORDS, k=2)) for _ in range(3))]
            more += b" /FT /Ch /Ff 131072 /Opt [%s]" % b" ".join(map(text_of, options))
        else:
            more += b" /FT /Tx"
        if dice.random() < 0.4:
            shown = sheet.appearance(
                b"/Tx BMC q BT /Helvetica 12 Tf 0 g 2 8 Td (%s) Tj ET Q EMC" % escaped(value.encode()), 360, 24
            )
            more += b" /AP << /N %d 0 R >>" % shown
        number_of = sheet.annotate(
            b"/Subtype /Widget /T (f%d) /V %s %s" % (number, text_of(value), more), (160, y - 6, 520, y + 18)
        )
        fields.append(number_of)
        reading.append(f"{label} {value}")
    fields.append(
        sheet.annotate(
            b"/Subtype /Widget /FT /Tx /T (h) /V (hidden words of nobody at all here) /F 2 /DA (/Helvetica 12 Tf 0 g)",
            (160, 100, 520, 130),
        )
    )
    all_fields = b" ".join(b"%d 0 R" % field for field in fields)
    form = b"/Fields [%s] /NeedAppearances true /DA (/Helvetica 12 Tf 0 g)" % all_fields
    sheet.catalog = b"/AcroForm << %s /DR << /Font << /Helvetica %d 0 R >> >> >>" % (form, font)
    return Case(kind, sheet.pdf(), "\n".join(reading))


def notes(kind: str, dice: random.Random) -> Case:
    """Text and stamps that somebody put on the page; a closed note and a hidden one show nothing."""
    sheet = Sheet()
    sheet.standard("Helvetica")
    lines = prose(dice, 3)
    write(sheet, lines, dice)
    reading = list(lines)
    for number, subtype in enumerate([b"FreeText", b"Stamp", b"FreeText"]):
        words = " ".join(dice.choices(WORDS, k=7))
        shown = sheet.appearance(b"q BT /Helvetica 12 Tf 0 0 1 rg 2 8 Td (%s) Tj ET Q" % words.encode(), 400, 24)
        y = 500 - 50 * number
        sheet.annotate(
            b"/Subtype /%s /F 4 /Contents %s /AP << /N %d 0 R >> /DA (/Helvetica 12 Tf 0 0 1 rg)"
            % (subtype, text_of(words), shown),
            (60, y, 460, y + 24),
        )
        reading.append(words)
    hidden = sheet.appearance(b"BT /Helvetica 12 Tf 2 8 Td (unseen words which nobody ever reads here) Tj ET", 400, 24)
    sheet.annotate(b"/Subtype /FreeText /F 2 /AP << /N %d 0 R >>" % hidden, (60, 200, 460, 224))
    sheet.annotate(b"/Subtype /Popup /Open false /Contents (a note that is closed and not shown)", (400, 600, 600, 700))
    return Case(kind, sheet.pdf(), "\n".join(reading))


def more_notes(kind: str, dice: random.Random) -> Case:
    """On pages that are turned or cut: measures, marks, watermarks with words of their own, links without."""
    sheet = Sheet(page=dice.choice([b"/Rotate 90", b"/Rotate 270", b"/CropBox [40 100 600 780]", b""]))
    sheet.standard("Helvetica")
    lines = prose(dice, 4)
    write(sheet, lines, dice)
    reading = list(lines)
    for number, subtype in enumerate(
        dice.sample([b"Line", b"Square", b"Polygon", b"Watermark", b"Redact", b"Caret"], 3)
    ):
        words = " ".join(dice.choices(WORDS, k=8))
        shown = sheet.appearance(b"q BT /Helvetica 12 Tf 1 0 0 rg 2 8 Td (%s) Tj ET Q" % words.encode(), 460, 24)
        y = 500 - 50 * number
        sheet.annotate(b"/Subtype /%s /F 4 /AP << /N %d 0 R >>" % (subtype, shown), (60, y, 520, y + 24))
        reading.append(words)
    sheet.annotate(b"/Subtype /Link /Border [0 0 0] /A << /S /URI /URI (http://example.org) >>", (60, 690, 300, 710))
    return Case(kind, sheet.pdf(), "\n".join(reading))


def rare_fields(kind: str, dice: random.Random) -> Case:
    """Buttons with words, lists, several lines, boxes for single letters, ticks."""
    sheet = Sheet(page=dice.choice([b"", b"/Rotate 90", b"/Rotate 270"]))
    font = sheet.fonts[sheet.standard("Helvetica")]
    words = [" ".join(dice.choices(WORDS, k=4)) for _ in range(6)]
    number = "".join(dice.choices("0123456789", k=8))
    fields = [
        (b"/FT /Tx /Ff 4096 /V %s" % text_of(f"{words[0]} {words[1]}\n{words[2]}"), (60, 600, 300, 700), [*words[:3]]),
        (b"/FT /Tx /Ff 16777216 /MaxLen 8 /V (%s)" % number.encode(), (60, 560, 300, 580), [number]),
        (
            b"/FT /Ch /Opt [%s] /V %s" % (b" ".join(map(text_of, words[3:5])), text_of(words[3])),
            (60, 460, 300, 540),
            words[3:5],
        ),
        (b"/FT /Btn /Ff 65536 /MK << /CA %s /BG [0.8 0.8 0.8] >>" % text_of(words[5]), (60, 400, 300, 430), [words[5]]),
        (
            b"/FT /Tx /V %s" % text_of("first words here " + "that run on beyond the end " * 9),
            (60, 350, 200, 370),
            ["first words here that run on"],
        ),
    ]
    numbers, reading = [], []
    for index, (more, box, shown) in enumerate(fields):
        content = b"/Subtype /Widget /F 4 /T (f%d) /DA (/Helvetica 12 Tf 0 g) %s" % (index, more)
        numbers.append(sheet.annotate(content, box))
        reading += shown
    all_fields = b" ".join(b"%d 0 R" % field for field in numbers)
    form = b"/Fields [%s] /NeedAppearances true /DA (/Helvetica 12 Tf 0 g)" % all_fields
    sheet.catalog = b"/AcroForm << %s /DR << /Font << /Helvetica %d 0 R >> >> >>" % (form, font)
    return Case(kind, sheet.pdf(), "\n".join(reading))


def drawn_fonts(kind: str, dice: random.Random) -> Case:
    """Letters that a file draws itself (Type 3), each a bar as high and deep as its letter; or print within a form."""
    sheet = Sheet()
    lines = prose(dice, 6)
    if dice.random() < 0.5:
        letters = sorted(set("".join(lines)) - {" "})
        drawn = [
            sheet.add(stream(b"500 0 50 %d 450 %d d1 50 %d 400 %d re f" % (low, high, low, high - low)))
            for low, high in ((-200 if c in "gpqy" else 0, 450 if c in "acemnorsuvwxzgpqy" else 700) for c in letters)
        ]
        procs = b" ".join(b"/g%d %d 0 R" % pair for pair in enumerate(drawn))
        cmap = b"1 begincodespacerange <00> <ff> endcodespacerange %d beginbfchar\n%s\nendbfchar" % (
            len(letters) + 1,
            b"\n".join([b"<20> <0020>", *(b"<%02x> <%04x>" % (33 + k, ord(c)) for k, c in enumerate(letters))]),
        )
        unicode = sheet.add(stream(cmap))
        sheet.fonts["T3"] = sheet.add(
            b"<< /Type /Font /Subtype /Type3 /FontBBox [0 -200 500 800] /FontMatrix [0.001 0 0 0.001 0 0] /FirstChar 32"
            b" /LastChar %d /Widths [%s] /CharProcs << %s >> /Encoding << /Differences [33 %s] >> /ToUnicode %d 0 R >>"
            % (
                32 + len(letters),
                b" ".join([b"500"] * (len(letters) + 1)),
                procs,
                b" ".join(b"/g%d" % k for k in range(len(letters))),
                unicode,
            )
        )
        for number, line in enumerate(lines):
            codes = bytes(32 if char == " " else 33 + letters.index(char) for char in line)
            sheet.show(codes, 60, 700 - 20 * number, font="T3")
    else:
        sheet.standard("Helvetica")
        rows = b"".join(
            b"BT /Helvetica 12 Tf 1 0 0 1 60 %d Tm (%s) Tj ET\n" % (700 - 20 * number, escaped(line.encode()))
            for number, line in enumerate(lines)
        )
        name = sheet.appearance(rows, 612, 792)
        sheet.resources += b" /XObject << /F0 %d 0 R >>" % name
        sheet.draw(b"q 0.9 0 0 0.9 20 20 cm /F0 Do Q")
    return Case(kind, sheet.pdf(), "\n".join(lines))


def scan(kind: str, dice: random.Random) -> Case:
    """A picture of print under an invisible layer, which an OCR of old read with a few errors."""
    lines = prose(dice, 10, 50)
    picture = Image.new("L", (1224, 1584), 238)
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text((120, 160 + 44 * number), line, 20, ImageFont.load_default(28))
    grain = np.random.default_rng(dice.randrange(10**6)).normal(0, 5, (1584, 1224))
    sheet = Sheet()
    name = sheet.image(1224, 1584, np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8).tobytes())
    sheet.draw(b"q 612 0 0 792 0 0 cm /%s Do Q" % name.encode())
    for number, line in enumerate(lines):
        misread = "".join(dice.choice("ceo1l") if dice.random() < 0.02 else char for char in line)
        sheet.line(misread, 60, 792 - 80 - 11 - 22 * number, size=12, how=b"3 Tr")
    return Case(kind, sheet.pdf(), "\n".join(lines))


# what is there and not shown

HIDDEN = (
    "beyond the crop box",
    "beyond the page",
    "in a layer",
    "clipped",
    "white on white",
    "covered",
    "invisible",
    "transparent",
)


def hidden(kind: str, dice: random.Random) -> Case:
    """More words than are shown are there, in one way of HIDDEN."""
    way = dice.choice(HIDDEN)
    sheet = Sheet()
    lines, unseen = prose(dice, 5), prose(dice, 8)
    y = 320.0
    if way == "beyond the crop box":
        sheet.page = b"/CropBox [0 400 612 792]"
    elif way == "beyond the page":
        y = -40
    write(sheet, lines, dice)
    if way == "in a layer":
        layer = sheet.add(b"<< /Type /OCG /Name (Hidden) >>")
        sheet.catalog = b"/OCProperties << /OCGs [%d 0 R] /D << /OFF [%d 0 R] >> >>" % (layer, layer)
        sheet.resources += b" /Properties << /MC0 %d 0 R >>" % layer
        sheet.draw(b"/OC /MC0 BDC")
        write(sheet, unseen, dice, y=y)
        sheet.draw(b"EMC")
    elif way == "clipped":
        sheet.draw(b"q 500 20 10 10 re W n")
        write(sheet, unseen, dice, y=y)
        sheet.draw(b"Q")
    elif way == "transparent":
        state = sheet.add(b"<< /Type /ExtGState /ca 0 /CA 0 >>")
        sheet.resources += b" /ExtGState << /G0 %d 0 R >>" % state
        sheet.draw(b"q /G0 gs")
        write(sheet, unseen, dice, y=y)
        sheet.draw(b"Q")
    else:
        how = {"white on white": b"1 g", "invisible": b"3 Tr"}.get(way, b"")
        write(sheet, unseen, dice, y=y, how=how)
    if way == "covered":
        sheet.draw(dice.choice([b"1 g", b"0 g", b"0.9 0.9 1 rg"]) + b" 40 100 560 240 re f")
    return Case(kind, sheet.pdf(), "\n".join(lines))


def written_over(kind: str, dice: random.Random) -> Case:
    """Words under others at the same place: covered by a box, in a layer that is off, or invisible."""
    sheet = Sheet()
    shown, unseen = prose(dice, 8), prose(dice, 8)
    way = dice.choice(["covered", "layers", "invisible", "invisible copy"])
    if way == "covered":
        write(sheet, unseen, dice)
        sheet.draw(b"1 g 30 300 560 440 re f 0 g")
        write(sheet, shown, dice)
    elif way == "layers":
        numbers = [sheet.add(b"<< /Type /OCG /Name (%s) >>" % name) for name in (b"English", b"Dansk")]
        on, off = dice.sample(numbers, 2)
        order = (numbers[0], numbers[1])
        sheet.catalog = b"/OCProperties << /OCGs [%d 0 R %d 0 R] /D << /OFF [%d 0 R] >> >>" % (*order, off)
        sheet.resources += b" /Properties << /MC0 %d 0 R /MC1 %d 0 R >>" % order
        for name, number in zip((b"MC0", b"MC1"), order, strict=True):
            sheet.draw(b"/OC /%s BDC" % name)
            write(sheet, shown if number == on else unseen, dice)
            sheet.draw(b"EMC")
    else:
        write(sheet, shown, dice)
        write(sheet, shown if way == "invisible copy" else unseen, dice, how=b"3 Tr")
    return Case(kind, sheet.pdf(), "\n".join(shown))


def empty_with_layer(kind: str, dice: random.Random) -> Case:
    sheet = Sheet()
    if dice.random() < 0.5:
        gray = 236 + np.random.default_rng(dice.randrange(10**6)).normal(0, 4, (792, 612))
        sheet.draw(
            b"q 612 0 0 792 0 0 cm /%s Do Q"
            % sheet.image(612, 792, np.clip(gray, 0, 255).astype(np.uint8).tobytes()).encode()
        )
    write(sheet, prose(dice, 3), dice, how=b"3 Tr")
    return Case(kind, sheet.pdf(), "", empty=True)


# what is said wrongly


def unfit(kind: str, dice: random.Random) -> Case:
    """Fonts that name their letters wrongly, on the whole page or half of it."""
    pieces = sorted({char for text in ALL.values() for char in text if char.isascii() and char.isalnum()})
    mixed = dict(zip(pieces, dice.sample(pieces, len(pieces)), strict=True))
    shift = dice.randint(1, 20)
    says: Callable[[str], str] = dice.choice(
        [
            lambda char: chr(ord(char) + shift),
            lambda char: chr(ord(char) - 29),
            lambda char: chr(1 + ord(char) % 31),
            lambda char: chr(0xE000 + ord(char)),
            lambda _char: "\ufffd",
            lambda _char: "A",
            lambda char: chr(0xAC00 + 588 + ord(char)),
            lambda char: mixed.get(char, char),
            lambda char: str(ord(char) % 10),
            lambda char: chr(0x80 + ord(char) % 32),
        ]
    )
    lines = article(LATIN[dice.choice(["en", "fr", "de", "fi", "pl", "tr", "nl"])])
    sheet = Sheet()
    write_mapped(sheet, lines, said=says, y=400, name="W")
    if dice.random() < 0.3:
        sound = lines[:3]
        write_mapped(sheet, sound)
        lines = [*sound, *lines]
    return Case(kind, sheet.pdf(), "\n".join(lines), unfit=True)


def mojibake(kind: str, dice: random.Random) -> Case:
    """Cyrillic whose bytes are taken for Latin-1, or shown as Hangul."""
    lines = article(CYRILLIC[dice.choice(["ru", "uk"])])
    says: Callable[[str], str] = dice.choice(
        [
            lambda char: char.encode("cp1251", "replace").decode("latin-1") if char.isalpha() else char,
            lambda char: chr(0xB200 + ord(char) - 0x400) if char.isalpha() else char,
        ]
    )
    sheet = Sheet()
    write_mapped(sheet, lines, said=says)
    return Case(kind, sheet.pdf(), "\n".join(lines), unfit=True)


KINDS: dict[str, Callable[[str, random.Random], Case]] = {
    maker.__name__: maker
    for maker in (
        plain, turned, other_scripts, right_to_left, ligatures, hyphens, letter_spaced, small_signs, odd_but_sound,
        twice, accents, colored, page_number, filled_form, rare_fields, notes, more_notes,
        drawn_fonts, scan, hidden, written_over, empty_with_layer, unfit, mojibake,
    )
}  # fmt: skip
