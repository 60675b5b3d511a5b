"""What nano is asked about a scene, and the right reply, in the words and forms of the real model.

Knows nothing of drawing or of networks. Forms: docs/facts/qwen3-vl.md §2.3 and 2.5; coordinates are integers of 0 …
1000 relative to the picture, x first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from model.nano import tokens
from model.nano.scenes import COLORS, SHAPES, Box, Scene, Thing

Where: TypeAlias = Literal["all of it", "left", "top", "right", "bottom", "middle", "first seen", "last seen"]
Piece: TypeAlias = tuple[str, int | None, Where]
"""Text, the index of the thing in the scene that it speaks of, and where that is to be seen."""
SIDES: tuple[Where, ...] = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Question:
    prompt: str
    reply: tuple[Piece, ...]

    @property
    def text(self) -> str:
        return "".join(piece for piece, *_ in self.reply)


def ask_all(rng: random.Random, scene: Scene, boxes: int = 2) -> list[Question]:
    """Two questions about a clip; of a picture, a caption, some points, and so many times some boxes."""
    if scene.times_s:
        return [events(scene), caption(scene)]
    if not scene.things:
        return [caption(scene)] * (boxes + 2)
    located = [locate(scene, asked_labels(rng, scene)) for _ in range(boxes)]
    return [caption(scene), *located, locate(scene, asked_labels(rng, scene), points=True)]


def caption(scene: Scene) -> Question:
    """Every thing by name, of a clip with what it does."""
    pieces: list[Piece] = []
    if scene.times_s:
        for index, thing in enumerate(scene.things):
            pieces += [(" ", None, "all of it")] if pieces else []
            pieces += _sentence(index, thing)
        return Question(tokens.CLIP_PROMPT, tuple(pieces))
    if not scene.things:
        text = "A line of text." if scene.lines == 1 else "Some lines of text."
        return Question(tokens.IMAGE_PROMPT, ((text, None, "all of it"),))
    last = len(scene.things) - 1
    for index, thing in enumerate(scene.things):
        joint = "" if index == 0 else " and " if index == last else ", "
        article = _article(thing) if index else _article(thing).capitalize()
        pieces += [(joint, None, "all of it"), (f"{article} {thing.label}", index, "all of it")]
    return Question(tokens.IMAGE_PROMPT, (*pieces[1:], (".", None, "all of it")))


def asked_labels(rng: random.Random, scene: Scene) -> list[str]:
    """One to three labels, most of them of things that are there."""
    there = [thing.label for thing in scene.things]
    chosen = rng.sample(there, rng.randint(1, min(3, len(there))))
    if rng.random() < 0.2:
        other = f"{rng.choice(list(COLORS))} {rng.choice(SHAPES)}"
        if other not in there:
            chosen[rng.randrange(len(chosen))] = other
    return chosen


def locate(scene: Scene, labels: Sequence[str], *, points: bool = False) -> Question:
    """Boxes, or centers, of the things that bear the labels, in the order of the labels."""
    prompt = tokens.CATEGORIES + ", ".join(labels) + (tokens.AS_POINTS if points else tokens.AS_BOXES)
    matches = [(index, thing) for label in labels for index, thing in enumerate(scene.things) if thing.label == label]
    if not matches:
        return Question(prompt, ((tokens.NO_LIST, None, "all of it"),))
    pieces: list[Piece] = []
    opens = tokens.POINT_OPENS if points else tokens.BOX_OPENS
    for index, thing in matches:
        pieces += [(tokens.NEXT_OBJECT if pieces else tokens.LIST_OPENS, None, "all of it"), (opens, None, "all of it")]
        if points:
            numbers: list[Piece] = [(_coordinate(share), index, "middle") for share in _center(thing.box)]
        else:
            sides = zip(thing.box, SIDES, strict=True)
            numbers = [(_coordinate(share), index, side) for share, side in sides]
        for number in numbers:
            pieces += [number, (", ", None, "all of it")]
        pieces[-1] = (tokens.LABEL, None, "all of it")
        pieces += [(thing.label, index, "all of it"), (tokens.OBJECT_CLOSES, None, "all of it")]
    return Question(prompt, (*pieces, (tokens.LIST_CLOSES, None, "all of it")))


def events(scene: Scene) -> Question:
    """Each thing's time in the clip and what it does, by their start."""
    pieces: list[Piece] = []
    for index, thing in enumerate(scene.things):
        pieces += [
            (tokens.NEXT_EVENT if pieces else tokens.EVENTS_OPEN, None, "all of it"),
            (_clock(thing.start_s) + tokens.TO, index, "first seen"),
            (_clock(thing.end_s) + tokens.SHARP, index, "last seen"),
            (tokens.EVENT_TEXT, None, "all of it"),
            *_sentence(index, thing),
        ]
    return Question(tokens.EVENTS_PROMPT, (*pieces, (tokens.EVENTS_CLOSE, None, "all of it")))


def _sentence(index: int, thing: Thing) -> list[Piece]:
    return [
        (f"{_article(thing).capitalize()} {thing.label} ", index, "all of it"),
        (thing.motion, index, "last seen"),  # who came to the right edge moved to the right
        (".", None, "all of it"),
    ]


def _coordinate(share: float) -> str:
    return str(tokens.COORDINATE_STEP * round(1000 * share / tokens.COORDINATE_STEP))


def _center(box: Box) -> tuple[float, float]:
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _clock(time_s: float) -> str:
    """mm:ss"""
    return f"{int(time_s) // 60:02d}:{int(time_s) % 60:02d}"


def _article(thing: Thing) -> str:
    return "an" if thing.color == "orange" else "a"
