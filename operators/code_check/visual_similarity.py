"""How like an input a page or drawing looks that was made from it. Works on the two pictures alone.

In the manner of Design2Code (Si et al. 2024, arXiv 2403.03163, §3.2; its metrics/visual_score.py): blocks of text are
found in both and matched; block_match is the share of their area that has a partner, text, position and color are
means over the partners, and the score is the mean of the four. Structural similarity (SSIM) stands beside it.

What is different, because of an input only the pixels are known: blocks are words of print found by
operators/text_lines/find_lines.py, on both sides alike, so that what it misses is missed on both; and `text` compares
how words are printed, not what they say. The same word in another typeface counts for about 0.7, another word of that
length for about 0.3, which makes no pair; it is no reading, and a spelling error may pass. What is no text (pictures,
icons, empty panels) shows in `ssim` and the colors behind words alone. Handwriting, as in a sketch, is hardly found:
such scores say little. Partners are chosen greedily, best first, where Design2Code finds the best assignment.

Shapes: pictures [H, W, 3] uint8; n words; prints [n, P].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.prompts.rgb import RGB
from operators.code_check.color_distance import delta_e, lab_of
from operators.text_lines.find_lines import Layout, TextLine, find_lines

Floats: TypeAlias = NDArray[np.float64]

MAX_WORDS = 1500
_PRINT_W, _PRINT_H = 16, 8
_LEAST_ALIKE = 0.5
"""Words that are less alike are no partners (Design2Code asks 0.5 of a text's similarity)."""
_NEAR = 0.2
"""What standing in the same place counts for in the choice among words that look alike."""
_WORD_GAP = 0.22  # of the type's size: no letters stand so far apart
_SMALL_PX = 1_200_000
_SSIM_SIDE = 7


@dataclass(frozen=True)
class Similarity:
    """Each from 0 to 1; all but ssim None where the input shows no words."""

    score: float | None
    block_match: float | None
    text: float | None
    position: float | None
    color: float | None
    ssim: float


@dataclass(frozen=True)
class _Words:
    """boxes: x0, y0, x1, y1 in pixels. prints: the strokes of each, in a frame of one size, centered and of length 1.
    foregrounds, backgrounds: colors in CIELAB."""

    boxes: Floats
    prints: Floats
    foregrounds: Floats
    backgrounds: Floats

    @property
    def areas(self) -> Floats:
        areas: Floats = (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])
        return areas


def compare(original: RGB, shown: RGB) -> Similarity:
    """original: the input; scaled to the width of `shown` first."""
    height, width = shown.shape[:2]
    if original.shape[1] != width:
        size = (width, max(1, round(original.shape[0] * width / original.shape[1])))
        original = np.asarray(Image.fromarray(original).resize(size, Image.Resampling.LANCZOS))
    structure = ssim(original, shown)
    wanted, present = _words(original), _words(shown)
    if not len(wanted.boxes):
        return Similarity(None, None, None, None, None, structure)
    alike = _alike(wanted, present)
    far = _far(wanted, present, width, max(original.shape[0], height))
    pairs = _partners(alike, far)
    if not len(pairs):
        return Similarity(0.0, 0.0, 0.0, 0.0, 0.0, structure)
    ours, theirs = pairs[:, 0], pairs[:, 1]
    matched = wanted.areas[ours].sum() + present.areas[theirs].sum()
    block_match = float(matched / (wanted.areas.sum() + present.areas.sum()))
    text = float(alike[ours, theirs].mean())
    position = float(1 - far[ours, theirs].mean())
    apart = delta_e(wanted.foregrounds[ours], present.foregrounds[theirs]) + delta_e(
        wanted.backgrounds[ours], present.backgrounds[theirs]
    )
    color = float(1 - (apart / 200).clip(0, 1).mean())
    return Similarity((block_match + text + position + color) / 4, block_match, text, position, color, structure)


def _alike(one: _Words, other: _Words) -> Floats:
    """[n, m]: how alike words are printed: correlation of their foreground, less where one is longer."""
    shape = np.log(_lengths(one))[:, None] - np.log(_lengths(other))
    alike: Floats = (one.prints @ other.prints.T).clip(0, 1) * np.exp(-np.abs(shape))
    return alike


def _lengths(words: _Words) -> Floats:
    """Width of each word in its height."""
    lengths: Floats = (words.boxes[:, 2] - words.boxes[:, 0]) / (words.boxes[:, 3] - words.boxes[:, 1])
    return lengths


def _far(one: _Words, other: _Words, width: int, height: int) -> Floats:
    """[n, m]: the larger of the distances of two words' middles across and down, in sides of the picture."""
    size = np.array([width, height])
    a, b = ((words.boxes[:, :2] + words.boxes[:, 2:]) / 2 / size for words in (one, other))
    far: Floats = np.abs(a[:, None] - b[None]).max(axis=-1).clip(0, 1)
    return far


def _partners(alike: Floats, far: Floats) -> NDArray[np.int64]:
    """[pairs, 2]: each word at most once, the best pairs first."""
    ours, theirs = np.nonzero(alike >= _LEAST_ALIKE)
    order = np.argsort(-(alike - _NEAR * far)[ours, theirs], kind="stable")
    free_ours, free_theirs = set(ours.tolist()), set(theirs.tolist())
    pairs = []
    for i, j in zip(ours[order].tolist(), theirs[order].tolist(), strict=True):
        if i in free_ours and j in free_theirs:
            pairs.append((i, j))
            free_ours.discard(i)
            free_theirs.discard(j)
    return np.array(pairs, np.int64).reshape(-1, 2)


def _words(picture: RGB) -> _Words:
    shown = Image.fromarray(picture)
    # print of a screen is small: lines are told apart at twice the size
    factor = 2 if shown.width * shown.height < _SMALL_PX else 1
    gray = np.array(shown.convert("L").resize((shown.width * factor, shown.height * factor), Image.Resampling.BICUBIC))
    layout = find_lines(gray)
    foreground = np.abs(gray.astype(np.float32) - layout.background)
    boxes = [box for line in layout.lines for box in _split(line, layout, foreground)][:MAX_WORDS]
    prints = [_print(foreground[y0:y1, x0:x1]) for x0, y0, x1, y1 in boxes]
    colors = [_colors(picture, foreground, box, factor) for box in boxes]
    return _Words(
        np.array(boxes, np.float64).reshape(-1, 4) / factor,
        np.array(prints, np.float64).reshape(-1, _PRINT_W * _PRINT_H),
        lab_of(np.array([foreground for foreground, _ in colors]).reshape(-1, 3)),
        lab_of(np.array([background for _, background in colors]).reshape(-1, 3)),
    )


def _split(line: TextLine, layout: Layout, foreground: NDArray[np.float32]) -> list[tuple[int, int, int, int]]:
    """The words of a line: where its own foreground leaves a gap that is wider than those between letters."""
    x0, y0, x1, y1 = line.box
    strokes = np.isin(layout.labels[y0:y1, x0:x1], line.members)
    strokes &= foreground[y0:y1, x0:x1] > 0
    columns = np.nonzero(strokes.any(axis=0))[0]
    if not len(columns):
        return []
    ends = np.nonzero(np.diff(columns) > max(2.0, _WORD_GAP * line.em_px))[0]
    words = []
    for first, last in zip([0, *(ends + 1)], [*ends, len(columns) - 1], strict=True):
        left, right = columns[first], columns[last] + 1
        rows = np.nonzero(strokes[:, left:right].any(axis=1))[0]
        top, bottom = rows[0], rows[-1] + 1
        if right - left > 2 and bottom - top > 2:  # less is dust
            words.append((int(x0 + left), int(y0 + top), int(x0 + right), int(y0 + bottom)))
    return words


def _print(foreground: NDArray[np.float32]) -> Floats:
    """Of one word: its foreground at one size, without its mean, of length 1."""
    small = Image.fromarray(foreground).resize((_PRINT_W, _PRINT_H), Image.Resampling.BOX)
    values = np.asarray(small, np.float64).ravel()
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    unit: Floats = values / length if length else values
    return unit


def _colors(
    picture: RGB, foreground: NDArray[np.float32], box: tuple[int, int, int, int], factor: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """RGB of a word's strongest foreground, and of what lies under it."""
    x0, y0, x1, y1 = (side // factor for side in box)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    pixels = picture[y0:y1, x0:x1].reshape(-1, 3)
    strength = foreground[y0 * factor : y1 * factor : factor, x0 * factor : x1 * factor : factor].ravel()
    strong, weak = strength >= 0.8 * strength.max(), strength <= np.quantile(strength, 0.1)
    return np.median(pixels[strong], axis=0), np.median(pixels[weak], axis=0)


def ssim(one: RGB, other: RGB) -> float:
    """Mean structural similarity of the gray pictures over square windows (Wang et al. 2004, eq. 13, constants as
    there; windows without weights). What one of them has more below counts as compared with white."""
    height = max(one.shape[0], other.shape[0], _SSIM_SIDE)
    a, b = (_gray(picture, height) for picture in (one, other))
    if a.shape[1] < _SSIM_SIDE:
        a, b = (np.pad(side, ((0, 0), (0, _SSIM_SIDE - side.shape[1])), mode="edge") for side in (a, b))
    mean_a, mean_b = _means(a), _means(b)
    var_a, var_b = _means(a * a) - mean_a**2, _means(b * b) - mean_b**2
    both = _means(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(values.mean().clip(0, 1))


def _gray(picture: RGB, height: int) -> Floats:
    gray = np.asarray(Image.fromarray(picture).convert("L"), np.float64)
    return np.pad(gray, ((0, height - gray.shape[0]), (0, 0)), constant_values=255)


def _means(values: Floats) -> Floats:
    """Of every window, through sums of all that lies above and to the left."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    side = _SSIM_SIDE
    means: Floats = (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2
    return means
