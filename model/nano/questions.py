"""What nano is asked about a scene, and the right reply, in the words and forms of the real model.

Knows nothing of drawing or of networks. Forms: facts/qwen3-vl.md §2.3 and 2.5; coordinates are integers of 0 … 1000
relative to the picture, x first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from model.nano import tokens
from model.nano.scenes import COLOURS, SHAPES, Box, Scene, Thing


@dataclass(frozen=True)
class Question:
    """reply: its pieces, each with the index of the thing in the scene that it speaks of, or None."""

    prompt: str
    reply: tuple[tuple[str, int | None], ...]

    @property
    def text(self) -> str:
        return "".join(piece for piece, _ in self.reply)


def ask(rng: random.Random, scene: Scene) -> Question:
    """One of the questions that such a scene can be asked."""
    if scene.times_s:
        return events(scene) if rng.random() < 0.6 else caption(scene)
    if not scene.things or rng.random() < 0.25:
        return caption(scene)
    return locate(scene, asked_labels(rng, scene), points=rng.random() < 0.3)


def caption(scene: Scene) -> Question:
    """Every thing by name, of a clip with what it does and when."""
    if scene.times_s:
        pieces: list[tuple[str, int | None]] = []
        for index, thing in enumerate(scene.things):
            pieces += [(_capital(f"{_named(thing)} {thing.motion}{_when(thing, scene)}."), index), (" ", None)]
        return Question(tokens.CLIP_PROMPT, tuple(pieces[:-1]))
    if not scene.things:
        text = "A line of text." if scene.lines == 1 else "Some lines of text."
        return Question(tokens.IMAGE_PROMPT, ((text, None),))
    last = len(scene.things) - 1
    listed: list[tuple[str, int | None]] = []
    for index, thing in enumerate(scene.things):
        joint = "" if index == 0 else " and " if index == last else ", "
        name = _named(thing)
        listed += [(joint, None), (_capital(name) if index == 0 else name, index)]
    return Question(tokens.IMAGE_PROMPT, (*listed[1:], (".", None)))


def asked_labels(rng: random.Random, scene: Scene) -> list[str]:
    """One to three labels, most of them of things that are there."""
    there = [thing.label for thing in scene.things]
    chosen = rng.sample(there, rng.randint(1, min(3, len(there))))
    if rng.random() < 0.2:
        other = f"{rng.choice(list(COLOURS))} {rng.choice(SHAPES)}"
        if other not in there:
            chosen[rng.randrange(len(chosen))] = other
    return chosen


def locate(scene: Scene, labels: Sequence[str], *, points: bool = False) -> Question:
    """Boxes, or centres, of the things that bear the labels, in the order of the labels."""
    prompt = tokens.CATEGORIES + ", ".join(labels) + (tokens.AS_POINTS if points else tokens.AS_BOXES)
    found = [(index, thing) for label in labels for index, thing in enumerate(scene.things) if thing.label == label]
    if not found:
        return Question(prompt, ((tokens.NO_LIST, None),))
    pieces: list[tuple[str, int | None]] = []
    for index, thing in found:
        opens = tokens.POINT_OPENS if points else tokens.BOX_OPENS
        numbers = ", ".join(str(round(1000 * side)) for side in (_centre(thing.box) if points else thing.box))
        pieces += [
            (tokens.NEXT_OBJECT if pieces else tokens.LIST_OPENS, None),
            (opens + numbers + tokens.LABEL + thing.label + tokens.OBJECT_CLOSES, index),
        ]
    return Question(prompt, (*pieces, (tokens.LIST_CLOSES, None)))


def events(scene: Scene) -> Question:
    """Each thing's time in the clip and what it does, by their start."""
    pieces: list[tuple[str, int | None]] = []
    for index, thing in enumerate(scene.things):
        span = f"{_clock(thing.start_s)} - {_clock(thing.end_s)}"
        pieces += [
            (tokens.NEXT_EVENT if pieces else tokens.EVENTS_OPEN, None),
            (span + tokens.EVENT_TEXT + _capital(f"{_named(thing)} {thing.motion}."), index),
        ]
    return Question(tokens.EVENTS_PROMPT, (*pieces, (tokens.EVENTS_CLOSE, None)))


def _centre(box: Box) -> tuple[float, float]:
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _clock(time_s: float) -> str:
    """mm:ss.ff"""
    return f"{int(time_s) // 60:02d}:{int(time_s) % 60:02d}.{round(time_s % 1 * 100):02d}"


def _when(thing: Thing, scene: Scene) -> str:
    first_s, end_s = scene.times_s[0], scene.times_s[-1] + 0.5
    start = thing.start_s > first_s
    if thing.end_s >= end_s:
        return f" from {thing.start_s:.0f} seconds on" if start else ""
    return f" from {thing.start_s:.0f} to {thing.end_s:.0f} seconds" if start else f" until {thing.end_s:.0f} seconds"


def _named(thing: Thing) -> str:
    return f"{'an' if thing.colour == 'orange' else 'a'} {thing.label}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
