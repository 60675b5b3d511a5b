"""Draws pictures of a few shapes and short clips of moving ones, and says what is where and when.

Knows nothing of networks, nor of what is asked (model/nano/questions.py). Nothing here is drawn as the demo's own
picture and clip are, and no text of theirs is used; but what is in those is within what this draws.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from model.nano.corpus import line_text
from model.nano.fonts import Face

SHAPES = ("circle", "square", "triangle", "star")
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (210, 40, 40),
    "green": (30, 150, 60),
    "blue": (35, 75, 200),
    "yellow": (240, 205, 40),
    "orange": (240, 135, 30),
    "purple": (130, 50, 160),
    "black": (20, 20, 20),
}
TOUCHES: dict[str, tuple[tuple[float, float], ...]] = {
    "circle": ((0, 0.5), (0.5, 0), (1, 0.5), (0.5, 1)),
    "square": ((0, 0.5), (0.5, 0), (1, 0.5), (0.5, 1)),
    "triangle": ((0, 1), (0.5, 0), (1, 1), (0.5, 1)),
    "star": ((0, 0.38), (0.5, 0), (1, 0.38), (0.19, 1)),
}
"""Where a shape touches the left, upper, right and lower side of its box, as shares of that, x first."""
MOTIONS = ("moves to the right", "moves to the left", "moves up", "moves down", "circles", "stands still")
SIDE_PX = 32
SMALLEST_PX = 22
"""Of a shape: the colors of smaller ones can be seen, but hardly the form."""
_FINE = 2  # drawn so much larger, for soft edges


Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of width and height."""


@dataclass(frozen=True)
class Thing:
    """A shape. motion: of clips, with the seconds from its first frame to its end."""

    color: str
    shape: str
    box: Box  # in a clip, where it is first seen
    motion: str = ""
    start_s: float = 0.0
    end_s: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """frames [T, h, w, 3]: one for a picture, a clip's otherwise, at times_s. things: from left to right, or by their
    start. boxes: of every thing in every frame, None while it is not there. lines: of print, where there is nothing
    else."""

    frames: NDArray[np.uint8]
    times_s: tuple[float, ...]
    things: tuple[Thing, ...]
    boxes: tuple[tuple[Box | None, ...], ...]
    lines: int = 0


def draw_picture(rng: random.Random, faces: list[Face], rows: int, columns: int) -> Scene:
    """rows x columns tokens; one to four shapes from left to right, or nothing but print."""
    width, height = columns * SIDE_PX * _FINE, rows * SIDE_PX * _FINE
    canvas, draw = _background(rng, width, height)
    if rng.random() < 0.1:
        lines = _print_only(rng, draw, faces, width, height)
        return Scene(_finished(rng, [canvas]), (), (), (), lines)
    count = rng.choice((1, 2, 2, 3, 3, 4)) if columns > 3 * rows // 2 else rng.choice((1, 2, 2, 3))
    size = min(height * rng.uniform(0.3, 0.6), 0.85 * width / count)
    things: list[Thing] = []
    for index in range(count):
        color, shape = _other(rng, things)
        slot = width / count
        x = slot * (index + 0.5) + rng.uniform(-0.5, 0.5) * max(0.0, slot - 1.15 * size)
        y = rng.uniform(0.6 * size, height - 0.6 * size)
        varied = max(SMALLEST_PX * _FINE, size * rng.uniform(0.75, 1.0))
        x0, y0, x1, y1 = _shape(rng, draw, color, shape, x, y, varied)
        things.append(Thing(color, shape, (x0 / width, y0 / height, x1 / width, y1 / height)))
    if rng.random() < 0.4:
        for _ in range(rng.randint(1, 3)):
            _words(rng, draw, faces, width, height)
    return Scene(_finished(rng, [canvas]), (), tuple(things), tuple((thing.box,) for thing in things))


def draw_clip(
    rng: random.Random, faces: list[Face], pairs: int, rows: int, columns: int, shown: int | None = None
) -> Scene:
    """2 * pairs frames at two a second; one shape or two, each there from a full second to a full second, the second
    from a later one on. shown: of the pairs, so many in a row, with what is seen in them; None is all."""
    width, height = columns * SIDE_PX * _FINE, rows * SIDE_PX * _FINE
    first_s = 30.0 if pairs <= 30 and rng.random() < 0.1 else 0.0  # the second half minute of a longer video
    times = tuple(first_s + index / 2 for index in range(2 * pairs))
    end_s = first_s + pairs
    base, _ = _background(rng, width, height)
    things: list[Thing] = []
    places: list[tuple[float, float, float]] = []
    for index in range(rng.choice((1, 2, 2))):
        color, shape = _other(rng, things)
        earliest_s = (
            things[0].start_s + 1 if index else first_s + (rng.randint(1, pairs - 1) if rng.random() < 0.2 else 0)
        )
        if earliest_s >= end_s:
            break
        start_s = float(rng.randint(int(earliest_s), int(end_s) - 1)) if index else float(earliest_s)
        leaves_s = end_s if rng.random() < 0.6 else float(rng.randint(int(start_s) + 1, int(end_s)))
        size = max(SMALLEST_PX * _FINE, height * rng.uniform(0.18, 0.36))
        x, y = rng.uniform(0.25, 0.75) * width, (0.3 + 0.4 * ((index + rng.random() * 0.4) % 1.4)) * height
        # in a second that is all there is, a way to go and a circle look alike
        motion = rng.choice(MOTIONS) if leaves_s - start_s > 1 else "stands still"
        things.append(Thing(color, shape, (0, 0, 1, 1), motion, start_s, leaves_s))
        places.append((x, y, size))
    if shown is not None and shown < pairs:
        start = 2 * rng.randint(0, pairs - shown)
        times = times[start : start + 2 * shown]
    clock = rng.random() < 0.4
    face = rng.choice(faces)
    turn_s, turn = rng.uniform(3, 6), rng.uniform(0.1, 0.17)
    frames = []
    boxes: list[list[Box | None]] = [[] for _ in things]
    for time_s in times:
        frame = base.copy()
        draw = ImageDraw.Draw(frame)
        for thing, (x, y, size), seen in zip(things, places, boxes, strict=True):
            if not thing.start_s <= time_s < thing.end_s:
                seen.append(None)
                continue
            share = (time_s - thing.start_s) / max(thing.end_s - thing.start_s - 0.5, 0.5)
            x_now, y_now = _place(thing.motion, share, (time_s / turn_s, turn), (x, y), (width, height), size)
            x0, y0, x1, y1 = _shape(random.Random(0), draw, thing.color, thing.shape, x_now, y_now, size)
            seen.append((x0 / width, y0 / height, x1 / width, y1 / height))
        if clock:
            text = f"{int(time_s) // 60:02d}:{int(time_s) % 60:02d}.{int(time_s * 10) % 10}"
            draw.text((0.04 * width, 0.04 * height), text, fill="black", font=face.at(round(0.13 * height)))
        frames.append(frame)
    order = [index for index in range(len(things)) if any(boxes[index])]
    order.sort(key=lambda index: things[index].start_s)
    firsts = [next((box for box in seen if box is not None), (0.0, 0.0, 1.0, 1.0)) for seen in boxes]
    return Scene(
        _finished(rng, frames),
        times,
        tuple(replace(things[index], box=firsts[index]) for index in order),
        tuple(tuple(boxes[index]) for index in order),
    )


def _place(
    motion: str,
    share: float,
    turn: tuple[float, float],
    at: tuple[float, float],
    area: tuple[int, int],
    size: float,
) -> tuple[float, float]:
    (x, y), (width, height) = at, area
    if motion == "circles":
        turned, radius = 2 * math.pi * turn[0], turn[1]
        return x + radius * width * math.cos(turned), y + radius * height * math.sin(turned)
    way_x, way_y = size * 0.6 + (width - 1.2 * size) * share, size * 0.6 + (height - 1.2 * size) * share
    return {
        "moves to the right": (way_x, y),
        "moves to the left": (width - way_x, y),
        "moves up": (x, height - way_y),
        "moves down": (x, way_y),
        "stands still": (x, y),
    }[motion]


def _other(rng: random.Random, things: list[Thing]) -> tuple[str, str]:
    """A color and a shape, not both of one that is there."""
    while True:
        look = rng.choice(list(COLORS)), rng.choice(SHAPES)
        if look not in [(thing.color, thing.shape) for thing in things]:
            return look


def _background(rng: random.Random, width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    gray = rng.randint(225, 255)
    tint = tuple(max(200, gray - rng.randint(0, 22)) for _ in range(3)) if rng.random() < 0.4 else (gray,) * 3
    canvas = Image.new("RGB", (width, height), tint)
    draw = ImageDraw.Draw(canvas)
    if rng.random() < 0.15:
        inset = rng.uniform(0.01, 0.04) * width
        foreground = tuple(rng.randint(0, 140) for _ in range(3))
        draw.rectangle((inset, inset, width - inset, height - inset), outline=foreground, width=rng.randint(2, 8))
    return canvas, draw


def _shape(
    rng: random.Random, draw: ImageDraw.ImageDraw, color: str, shape: str, x: float, y: float, size: float
) -> Box:
    """Draw it; its box in pixels."""
    red, green, blue = (min(255, max(0, value + rng.randint(-18, 18))) for value in COLORS[color])
    half = size / 2
    points: list[tuple[float, float]] = [(x - half, y - half), (x + half, y + half)]
    if shape == "circle":
        draw.ellipse((*points[0], *points[1]), fill=(red, green, blue))
    elif shape == "square":
        draw.rectangle((*points[0], *points[1]), fill=(red, green, blue))
    else:
        if shape == "triangle":
            points = [(x - half, y + half), (x + half, y + half), (x, y - half)]
        else:
            radii = (half * (1.1 if index % 2 == 0 else 0.45) for index in range(10))
            points = [
                (x + radius * math.sin(math.pi * index / 5), y - radius * math.cos(math.pi * index / 5))
                for index, radius in enumerate(radii)
            ]
        draw.polygon(points, fill=(red, green, blue))
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _words(rng: random.Random, draw: ImageDraw.ImageDraw, faces: list[Face], width: int, height: int) -> None:
    font = rng.choice(faces).at(rng.choice((20, 29, 36, 44)))
    draw.text((rng.uniform(0, 0.8) * width, rng.uniform(0, 0.9) * height), line_text(rng, 14), fill="black", font=font)


def _print_only(rng: random.Random, draw: ImageDraw.ImageDraw, faces: list[Face], width: int, height: int) -> int:
    """Draw some lines of print; how many."""
    lines = 1 if height < 200 or rng.random() < 0.2 else rng.randint(2, 6)
    room = height / (lines + 1)
    foreground = tuple(rng.randint(0, 110) for _ in range(3))
    font = rng.choice(faces).at(round(min(room * rng.uniform(0.45, 0.75), 90)))
    centered = rng.random() < 0.5
    for index in range(lines):
        text = line_text(rng, max(4, int(1.6 * width / font.size)))
        place = (width / 2, (index + 0.6) * room) if centered else (0.06 * width, (index + 0.6) * room)
        draw.text(place, text, fill=foreground, font=font, anchor="mt" if centered else "lt")
    return lines


def _finished(rng: random.Random, pictures: list[Image.Image]) -> NDArray[np.uint8]:
    """At half the size, with a little blur and grain at times."""
    blur = rng.uniform(0.3, 0.9) if rng.random() < 0.3 else 0.0
    grain = rng.uniform(1, 6) if rng.random() < 0.3 else 0.0
    noise = np.random.default_rng(rng.getrandbits(32))
    frames = []
    for picture in pictures:
        small = picture.resize((picture.width // _FINE, picture.height // _FINE), Image.Resampling.BICUBIC)
        if blur:
            small = small.filter(ImageFilter.GaussianBlur(blur))
        pixels = np.asarray(small)
        if grain:
            pixels = (pixels + noise.standard_normal((*pixels.shape[:2], 1)) * grain).clip(0, 255).astype(np.uint8)
        frames.append(pixels)
    return np.stack(frames)
