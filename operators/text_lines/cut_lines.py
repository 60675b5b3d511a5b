"""Cut the lines of a page out as the pictures that a line reader wants. Runs in a decoder child."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from model.prompts.line_image import line_image
from model.prompts.rgb import RGB
from operators.text_lines.find_lines import Layout, TextLine, find_lines, slope_of
from operators.units import LineImage
from schemas.decode import LineReader

_STEEP = 0.0015
"""Slopes above this (2 px over a page's width) are turned upright first."""
_SIDE_EM = 0.3
"""Background left beside a line."""


def cut_lines(picture: Image.Image, reader: LineReader, to_original: float) -> tuple[LineImage, ...]:
    """The lines of text in reading order, long ones in pieces. to_original: original pixels per picture pixel."""
    layout = find_lines(np.asarray(picture.convert("L")))
    angle = math.atan(slope_of(layout))
    if abs(angle) > _STEEP:
        background = tuple(int(value) for value in np.median(np.asarray(picture).reshape(-1, 3)[::97], axis=0))
        straight = picture.rotate(math.degrees(angle), Image.Resampling.BICUBIC, fillcolor=background)
        layout = find_lines(np.asarray(straight.convert("L")))
        center = (picture.width / 2, picture.height / 2)
        boxes = [_turned(line.box, angle, center) for line in layout.lines]
        picture = straight
    else:
        boxes = [line.box for line in layout.lines]
    pixels = np.asarray(picture)
    line_images = []
    for number, (line, box) in enumerate(zip(layout.lines, boxes, strict=True)):
        x0, y0, x1, y1 = (side * to_original for side in box)
        for piece in _pieces(line, reader):
            cut = line_image(Image.fromarray(_crop(pixels, layout, line, piece, reader)), reader)
            line_images.append(LineImage(number, (x0, y0, x1, y1), np.asarray(cut)))
    return tuple(line_images)


def _pieces(line: TextLine, reader: LineReader) -> Iterator[tuple[float, float]]:
    """Stretches [from, to] of the line that fit the reader, cut in the widest gap near each even share."""
    x0, _, x1, _ = line.box
    width = x1 - x0
    count = math.ceil(width * reader.stretch * reader.em_px / line.em_px / reader.max_width_px)
    start = float(x0)
    for number in range(1, count):
        share = width / count
        target = x0 + number * share
        near = [(gap, x) for x, gap in line.gaps if abs(x - target) < 0.4 * share and x > start]
        # a gap a little wider is worth a little more unevenness
        cut = max(near, key=lambda gap: gap[0] / line.em_px - 3 * abs(gap[1] - target) / share)[1] if near else target
        yield start, cut
        start = cut
    yield start, float(x1)


def _crop(pixels: RGB, layout: Layout, line: TextLine, piece: tuple[float, float], reader: LineReader) -> RGB:
    """The piece at page resolution, on clean background: foreground of other lines, rules and specks is wiped away."""
    _, y0, _, y1 = line.box
    scale = min(reader.em_px / line.em_px, 0.94 * reader.height_px / (y1 - y0))
    height = max(round(reader.height_px / scale), y1 - y0 + 1)
    top = round(line.baseline_px - reader.baseline_px / scale)
    top = max(min(top, y0), y1 - height)
    side = _SIDE_EM * line.em_px
    cut_left, cut_right = piece[0] > line.box[0], piece[1] < line.box[2]
    left = round(piece[0] - (0 if cut_left else side))
    right = round(piece[1] + (0 if cut_right else side))
    background = _background_color(pixels, layout, line)
    crop = np.empty((height, max(right - left, 1), 3), np.uint8)
    crop[:] = background
    rows = slice(max(top, 0), min(top + height, pixels.shape[0]))
    columns = slice(max(left, 0), min(right, pixels.shape[1]))
    labels = layout.labels[rows, columns]
    foreign = _grown((labels > 0) & ~np.isin(labels, line.members))
    inside = crop[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    inside[:] = np.where(foreign[..., None], background, pixels[rows, columns])
    # beyond the foreground of the line there is nothing of it: a picture's edge or a bar's end would only confuse
    margin = max(2, round(0.08 * line.em_px))
    crop[: max(0, y0 - top - margin)] = background
    crop[max(0, y1 - top + margin) :] = background
    return crop


def _background_color(pixels: RGB, layout: Layout, line: TextLine) -> RGB:
    x0, y0, x1, y1 = line.box
    area, bare = pixels[y0:y1, x0:x1], layout.labels[y0:y1, x0:x1] == 0
    chosen = area[bare] if bare.any() else area.reshape(-1, 3)
    color: RGB = np.median(chosen[:: max(1, len(chosen) // 2000)], axis=0).astype(np.uint8)
    return color


def _grown(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """By one pixel in each of four directions: the soft edge of a letter goes with it."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _turned(
    box: tuple[int, int, int, int], angle: float, center: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Box on the straightened page to the box around it on the page as it came; angle as the lines fall."""
    x0, y0, x1, y1 = box
    points = np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)], np.float64) - center
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned = points @ turn + center
    (left, top), (right, bottom) = turned.min(axis=0), turned.max(axis=0)
    return float(left), float(top), float(right), float(bottom)
