"""Pages of print with their text, from a seed, for scoring: text and layout that training never sees.

The prose was written for this file; words in no order and pages in one or two columns come out of it too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from model.nano.corpus import ASCII
from model.nano.fonts import Face
from model.nano.render import Sample, draw_sample

PROSE = (
    "The ferry left the quay a few minutes late, and nobody on deck seemed to mind. Gulls hung over the wake, "
    "waiting for crusts, while a boy in a yellow coat counted the buoys aloud. Beyond the breakwater the swell "
    "grew heavier; cups slid along the counter of the little cafe and were caught by a woman who had clearly done "
    "this for years. In the orchard behind the mill, grafted pears ripen two weeks before the others. The keeper "
    "puts it down to the wall, which is built of dark brick and holds the warmth of the afternoon. Her notebook "
    "says: prune in February, thin in June, pick when the stalk lifts cleanly. A kettle, three tin mugs and half "
    "a loaf stood on the workbench next to the unfinished violin. Varnish dries slowly in damp weather, so the "
    "maker had hung the back plate near the stove and gone out to look at the snow. Night trains used to carry "
    "mail, milk and sleeping soldiers across the plain; today the same rails bring gravel from the quarry and, on "
    "Saturdays, a carriage full of walkers with wet dogs. What makes a good map? Patience, mostly, and a willingness "
    "to walk the same hedge twice. The surveyor sketched every stile, asked each farmer for the field's old name, "
    "and coloured the marsh only after frost had made it safe to cross. Bees do not care for thunder. When the "
    "pressure falls they crowd back to the hive, and an hour later the first drops tap on its zinc roof. Grandfather "
    "would then close the shutters, light the lamp, and begin once more the story of the blue door in Lisbon, which "
    "nobody had ever been able to open from outside. Recipes travel faster than armies: within one generation the "
    "pepper, the potato and the bean had reached villages whose people had never seen the ocean."
)


def held_out_text(rng: random.Random, kind: str, max_chars: int) -> str:
    """One line: a stretch of prose, its words in no order, or printable ASCII characters at random."""
    if kind == "random":
        text = "".join(rng.choice(ASCII) for _ in range(max_chars))
    else:
        words = PROSE.split()
        if kind == "words":
            rng.shuffle(words)
        start = rng.randrange(len(words))
        text = " ".join((words + words)[start : start + max_chars // 2])[: max_chars + 1]
        text = text.rsplit(" ", 1)[0]
    return " ".join(text.split())


def held_out_lines(
    faces: list[Face], count: int, *, noise: float, seed: int, kind: str = "prose", max_chars: int = 48
) -> list[Sample]:
    """Lines of text that training never sees, faces by weight."""
    rng = random.Random(f"held out {kind} {seed}")
    return [
        draw_sample(rng, faces, max_chars, noise=noise, text=held_out_text(rng, kind, rng.randint(16, max_chars)))
        for _ in range(count)
    ]


@dataclass(frozen=True)
class Page:
    picture: Image.Image
    lines: tuple[str, ...]  # in reading order
    face: str


def draw_page(rng: random.Random, face: Face, *, columns: int = 1, lines: int = 40, dpi: int = 144) -> Page:
    """A4 with a heading and running prose in one face, 9 to 12 points."""
    width, height = round(8.27 * dpi), round(11.69 * dpi)
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    size = round(rng.uniform(9, 12) * dpi / 72)
    body, heading = face.at(size), face.at(round(1.6 * size))
    margin, gutter = round(0.8 * dpi), round(0.35 * dpi)
    column_width = (width - 2 * margin - gutter * (columns - 1)) // columns
    words = PROSE.split()
    start = rng.randrange(len(words))
    words = (words[start:] + words[:start]) * 4
    title = " ".join(words[:4])
    draw.text((margin, margin), title, fill="black", font=heading)
    text = [title]
    place = 4
    for column in range(columns):
        left, y = margin + column * (column_width + gutter), margin + 3 * size
        for _ in range(lines // columns):
            line = words[place]
            place += 1
            while body.getlength(f"{line} {words[place]}") <= column_width:
                line += f" {words[place]}"
                place += 1
            draw.text((left, y), line, fill="black", font=body)
            text.append(line)
            y += round(1.35 * size)
            if y + 2 * size > height - margin:
                break
    return Page(picture, tuple(text), face.name)
