"""Find the lines of print on a page and cut them out, by classical means. Knows nothing of models or files.

Connected foreground (operators/text_lines/foreground.py) makes components, mostly letters; neighboring components make
lines; lines are put in reading order. Works on numpy arrays alone.

Source: reading order by the two relations of Breuel, High Performance Document Layout Analysis (SDIUT 2003).

Shapes: H, W pixels of the page; n components; m lines. Boxes are [x0, y0, x1, y1] in pixels, ends excluded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.text_lines.foreground import (
    Boxes,
    Gray,
    background_of,
    components,
    connected,
    foreground_of,
    is_cut_off,
    is_solid,
)

MAX_LINES = 400
"""More than any page of print has; a photograph of gravel has no end of them."""
_SMALLEST_PX = 4  # x-height below which nothing can be read
_SAME_ROW = 0.45  # of the smaller height that must overlap for two components to stand in one row
_LETTER_GAP = 1.1  # in heights of the taller one
_WORD_GAP_EM = 0.55  # no gutter is as narrow
_WIDEST_GAP_EM = 1.6  # no gap between words is wider, however the line is stretched
_GUTTER_EM = 6.5  # white as high as this makes a gap in between a gutter
_MARK_PARTS = 3  # most components of a mark that stands apart from its line
_ASCENDER_EM = 0.72  # of most types; their x-heights differ more
_COLUMN_FOREGROUND = 0.2  # share of rows that have foreground beside a gutter


@dataclass(frozen=True)
class TextLine:
    """em_px: size of the type. baseline_px: y of the line the letters stand on. members: its components' labels.
    gaps: x of the middle of each gap between words, and its width; pixels."""

    box: tuple[int, int, int, int]
    em_px: float
    baseline_px: float
    members: NDArray[np.int64]
    gaps: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Layout:
    """lines in reading order; labels [H, W]: component of every pixel, 0 where there is background; boxes by label."""

    lines: list[TextLine]
    labels: NDArray[np.int32]
    background: Gray
    boxes: Boxes


def find_lines(gray: Gray) -> Layout:
    """The lines of an upright page in reading order."""
    layout = _find(gray, banners=True)
    order = reading_order(_with_headings(layout.lines))
    return Layout([layout.lines[i] for i in order], layout.labels, layout.background, layout.boxes)


def _with_headings(lines: list[TextLine]) -> Boxes:
    """The lines' boxes; one in larger type with nothing beside it stands over all that is below, however short."""
    boxes = np.array([line.box for line in lines], np.int64).reshape(-1, 4)
    if len(boxes):
        ems = np.array([line.em_px for line in lines])
        right = boxes[:, 2].max()
        for i in np.nonzero(ems > 1.2 * np.median(ems))[0]:
            beside = (boxes[:, 0] >= boxes[i, 2]) & (boxes[:, 1] < boxes[i, 3]) & (boxes[:, 3] > boxes[i, 1])
            if not beside.any():
                boxes[i, 2] = right
    return boxes


def _find(gray: Gray, *, banners: bool) -> Layout:
    background = background_of(gray)
    foreground = foreground_of(gray, background)
    labels, boxes, areas = _parted(*components(foreground))
    lines = [line for line in _lines(boxes, areas, foreground) if not _is_drawn(line, labels, boxes, background, gray)]
    for label in _banners(boxes, areas) if banners else []:
        x0, y0, x1, y1 = (int(side) for side in boxes[label])
        inside = _find(gray[y0:y1, x0:x1], banners=False)
        shift, offset = len(boxes), np.array([x0, y0, x0, y0])
        background[y0:y1, x0:x1] = inside.background
        labels[y0:y1, x0:x1] = np.where(inside.labels > 0, inside.labels + shift, 0)
        boxes = np.concatenate([boxes, inside.boxes + offset])
        # the insides of light letters are islands of dark
        lines = [line for line in lines if not _lies_in(line.box, (x0, y0, x1, y1))]
        lines += [_moved(line, x0, y0, shift) for line in inside.lines if line.em_px < 2 * (y1 - y0)]
    return Layout(lines, labels, background, boxes)


def _parted(
    labels: NDArray[np.int32], boxes: Boxes, areas: NDArray[np.int64]
) -> tuple[NDArray[np.int32], Boxes, NDArray[np.int64]]:
    """Letters of two lines that touch (a descender on an ascender) cut where there is least foreground between them."""
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    letters = np.nonzero((heights >= _SMALLEST_PX) & (areas >= 6))[0]
    if len(letters) < 10:
        return labels, boxes, areas
    usual = float(np.median(heights[letters]))
    suspects = letters[
        (heights[letters] > 2.3 * usual) & (heights[letters] < 12 * usual) & (widths[letters] < 0.8 * heights[letters])
    ]
    more_boxes: list[tuple[int, int, int, int]] = []
    more_areas: list[int] = []
    for suspect in suspects:
        x0, y0, x1, y1 = boxes[suspect]
        reach = y1 - y0
        near = letters[
            (boxes[letters, 0] < x1 + reach)
            & (boxes[letters, 2] > x0 - reach)
            & (boxes[letters, 3] > y0)
            & (boxes[letters, 1] < y1)
            & (letters != suspect)
            & (heights[letters] > 0.4 * usual)
        ]
        if len(near) < 4:
            continue
        size = float(np.median(heights[near]))
        middle = (y0 + y1) / 2
        above = (boxes[near, 3] < middle + 0.3 * size).sum()
        below = (boxes[near, 1] > middle - 0.3 * size).sum()
        if reach < 2.4 * size or above < 2 or below < 2 or above + below < len(near):
            continue
        shape = labels[y0:y1, x0:x1] == suspect
        counts = shape.sum(axis=1)
        third = int(0.3 * reach)
        row = third + int(np.argmin(counts[third : reach - third]))
        lower = shape.copy()
        lower[:row] = False
        label = len(boxes) + len(more_boxes)
        labels[y0:y1, x0:x1][lower] = label
        columns = np.nonzero(lower.any(axis=0))[0]
        more_boxes.append((x0 + columns[0], y0 + row, x0 + columns[-1] + 1, y1))
        more_areas.append(int(lower.sum()))
        columns = np.nonzero((shape & ~lower).any(axis=0))[0]
        boxes[suspect] = (x0 + columns[0], y0, x0 + columns[-1] + 1, y0 + row)
        areas[suspect] -= more_areas[-1]
    if not more_boxes:
        return labels, boxes, areas
    return labels, np.concatenate([boxes, np.array(more_boxes)]), np.concatenate([areas, np.array(more_areas)])


def _banners(boxes: Boxes, areas: NDArray[np.int64]) -> list[int]:
    """Solid bars that may hold light text."""
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    solid = (heights >= 12) & (heights <= 400) & (widths > 2 * heights) & (areas > 0.45 * widths * heights)
    return [int(label) for label in np.nonzero(solid)[0][:50]]


def _is_drawn(line: TextLine, labels: NDArray[np.int32], boxes: Boxes, background: Gray, gray: Gray) -> bool:
    """Whether a line is nothing but solid shapes and pieces of large ones: a row of bullets may pass for them, a word
    does not."""
    heights = boxes[line.members, 3] - boxes[line.members, 1]
    large = line.members[heights >= 0.35 * line.em_px]
    return all(
        is_solid(labels, label, boxes[label], background) or is_cut_off(labels, label, boxes[label], gray)
        for label in large.tolist()
    )


def _lies_in(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return box[0] >= other[0] and box[1] >= other[1] and box[2] <= other[2] and box[3] <= other[3]


def _moved(line: TextLine, x: int, y: int, shift: int) -> TextLine:
    x0, y0, x1, y1 = line.box
    gaps = tuple((middle + x, width) for middle, width in line.gaps)
    return TextLine((x0 + x, y0 + y, x1 + x, y1 + y), line.em_px, line.baseline_px + y, line.members + shift, gaps)


def slope_of(layout: Layout) -> float:
    """How much the lines fall per pixel to the right: median over the longer lines, 0 when there are none."""
    slopes = []
    for line in layout.lines:
        letters = layout.boxes[line.members]
        letters = letters[letters[:, 3] - letters[:, 1] > 0.35 * line.em_px]
        if len(letters) >= 8 and line.box[2] - line.box[0] > 6 * line.em_px:
            centers = (letters[:, 0] + letters[:, 2]) / 2
            # Theil-Sen between the two halves: descenders are outliers
            order = np.argsort(centers)
            half = len(letters) // 2
            left, right = order[:half], order[-half:]
            runs = centers[right][None] - centers[left][:, None]
            rises = letters[right, 3][None] - letters[left, 3][:, None]
            slopes.append(float(np.median((rises / np.maximum(runs, 1))[runs > line.em_px])))
    return float(np.median(slopes)) if slopes else 0.0


def _lines(boxes: Boxes, areas: NDArray[np.int64], foreground: NDArray[np.bool_]) -> list[TextLine]:
    """Components to lines, in no order."""
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    letters = (heights >= _SMALLEST_PX) & (areas >= 6)
    narrow = letters & (widths < 4 * heights)
    if not narrow.any():
        return []
    usual = float(np.median(heights[narrow]))
    rule = (widths > 8 * np.maximum(heights, 0.3 * usual)) & (heights < 0.7 * usual)
    rule |= (heights > 14 * np.maximum(widths, 0.3 * usual)) & (heights > 6 * usual)
    picture = (heights > 9 * usual) | ((widths > 25 * usual) & (heights > 4 * usual))
    body = letters & ~rule & ~picture & (heights >= 0.45 * usual)
    segments = _merged(boxes, _chains(boxes, np.nonzero(body)[0]), foreground)
    small = (areas >= 3) & ~body & ~rule & ~picture & (heights > 0)
    small[0] = False
    segments = _with_marks(boxes, segments, np.nonzero(small)[0])
    lines = [_line(boxes, members) for members in segments]
    lines = [line for line in lines if line.box[2] - line.box[0] >= 0.15 * line.em_px]
    # the longest stay: specks are the first to go
    return sorted(lines, key=lambda line: line.box[0] - line.box[2])[:MAX_LINES]


def _chains(boxes: Boxes, chosen: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Components linked to their nearest neighbor on the right, as far as letters of a word stand apart."""
    order = chosen[np.argsort(boxes[chosen, 0], kind="stable")]
    x0, y0, x1, y1 = boxes[order].T
    heights = y1 - y0
    one, other = [], []
    for i in range(len(order)):
        reach = x1[i] + _LETTER_GAP * 2 * heights[i]
        end = int(np.searchsorted(x0, reach, "right"))
        near = slice(i + 1, end)
        overlap = np.minimum(y1[near], y1[i]) - np.maximum(y0[near], y0[i])
        gap = x0[near] - x1[i]
        fits = (
            (overlap >= _SAME_ROW * np.minimum(heights[near], heights[i]))
            & (gap <= _LETTER_GAP * np.maximum(heights[near], heights[i]))
            & (np.maximum(heights[near], heights[i]) <= 2.6 * np.minimum(heights[near], heights[i]))
        )
        if fits.any():
            nearest = i + 1 + int(np.argmin(np.where(fits, gap, np.iinfo(np.int64).max)))
            one.append(i)
            other.append(nearest)
    root = connected(len(order), np.array(one, np.int64), np.array(other, np.int64))
    return [order[root == r] for r in np.unique(root)]


def _merged(boxes: Boxes, segments: list[NDArray[np.int64]], foreground: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Segments of one row joined over gaps between words, nearest first; gutters between columns are left."""
    sums = np.pad(foreground.cumsum(axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    while True:
        spans = np.array([_span(boxes, members) for members in segments]).reshape(-1, 4)
        ems = np.array([_rough_em(boxes, members) for members in segments])
        order = np.argsort(spans[:, 0]) if len(spans) else np.zeros(0, np.int64)
        merged: list[NDArray[np.int64]] = []
        used = np.zeros(len(segments), np.bool_)
        for i in order:
            if used[i]:
                continue
            used[i] = True
            _, y0, x1, y1 = spans[i]
            overlap = np.minimum(spans[:, 3], y1) - np.maximum(spans[:, 1], y0)
            gap = spans[:, 0] - x1
            size = np.minimum(ems, ems[i])
            fits = (
                ~used
                & (overlap >= 0.5 * np.minimum(spans[:, 3] - spans[:, 1], y1 - y0))
                & (gap <= _WIDEST_GAP_EM * size)
                & (gap >= -0.6 * size)
                & (np.maximum(ems, ems[i]) <= 1.7 * size)
            )
            members = segments[i]
            if fits.any():
                nearest = int(np.argmin(np.where(fits, gap, np.inf)))
                if not _is_gutter(sums, (x1, y0, spans[nearest, 0], y1), float(size[nearest])):
                    used[nearest] = True
                    members = np.concatenate([members, segments[nearest]])
            merged.append(members)
        if len(merged) == len(segments):
            return merged
        segments = merged


def _is_gutter(sums: NDArray[np.int32], gap: tuple[int, int, int, int], em_px: float) -> bool:
    """Whether a gap between two words of a row goes on as white above or below, with text on both sides of it.

    No gap in running text does; but one in the last line of a paragraph has white below that is nobody's gutter.
    """
    x0, y0, x1, y1 = gap
    if x1 - x0 <= _WORD_GAP_EM * em_px:
        return False
    part = (x1 - x0) * 2 // 3
    middle = (y0 + y1) // 2
    reach = int(_GUTTER_EM * em_px)
    for left in (x0 + 1, (x0 + x1 - part) // 2, x1 - part - 1):
        top, bottom = max(0, middle - reach), min(len(sums), middle + reach)
        rows = np.nonzero(sums[top:bottom, left + part] - sums[top:bottom, left])[0] + top
        above, below = rows[rows < middle], rows[rows >= middle]
        start = above[-1] if len(above) else top
        end = below[0] if len(below) else bottom
        if end - start >= reach and all(
            _beside(sums, side, (start, end), (y0, y1)) >= _COLUMN_FOREGROUND
            for side in (slice(max(0, x0 - reach), x0), slice(x1, x1 + reach))
        ):
            return True
    return False


def _beside(sums: NDArray[np.int32], columns: slice, rows: tuple[int, int], own_row: tuple[int, int]) -> float:
    """Share of rows that have foreground in these columns, the gap's own row left out: of a column of text about a
    half."""
    right = min(columns.stop, sums.shape[1] - 1)
    filled = sums[rows[0] : rows[1], right] > sums[rows[0] : rows[1], columns.start]
    others = np.ones(len(filled), np.bool_)
    others[max(0, own_row[0] - rows[0]) : max(0, own_row[1] - rows[0])] = False
    return float(filled[others].mean()) if others.any() else 0.0


def _with_marks(boxes: Boxes, segments: list[NDArray[np.int64]], small: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Dots, commas, accents and dashes given to the line that they belong to; others are specks.

    small: components that no segment holds. A segment much lower than a line beside it is a mark of that line too.
    """
    spans = np.array([_span(boxes, members) for members in segments], np.float64).reshape(-1, 4)
    heights = spans[:, 3] - spans[:, 1]
    ems = np.array([_rough_em(boxes, members) for members in segments])
    extra: list[list[NDArray[np.int64]]] = [[] for _ in segments]

    def owner(span: NDArray[np.float64]) -> int | None:
        """The line that a mark with this box belongs to."""
        y = (span[1] + span[3]) / 2
        beside = np.maximum(np.maximum(spans[:, 0] - span[2], span[0] - spans[:, 2]), 0)
        offset = np.abs(y - (spans[:, 1] + spans[:, 3]) / 2)
        near = (beside <= 0.6 * ems) & (offset <= heights / 2 + 0.3 * ems) & (span[3] - span[1] <= 0.5 * heights)
        near &= (span[2] - span[0] <= ems) | ((span[2] - span[0] <= 2 * ems) & (span[3] - span[1] <= 0.2 * ems))
        if not near.any():
            return None
        # an accent stands nearer to the middle of its own line than to that of the line above
        return int(np.argmin(np.where(near, offset / ems + 0.5 * beside / ems, np.inf)))

    if not segments:
        return []
    # words are no marks, however large the thing above them
    owners = [
        owner(span) if len(members) <= _MARK_PARTS else None for span, members in zip(spans, segments, strict=True)
    ]
    lines = [i for i, line in enumerate(owners) if line is None]
    for i, line in enumerate(owners):
        while line is not None and owners[line] is not None:
            line = owners[line]  # owners are at least twice as high: this ends
        if line is not None:
            extra[line].append(segments[i])
    for mark in small:
        line = owner(boxes[mark].astype(np.float64))
        while line is not None and owners[line] is not None:
            line = owners[line]
        if line is not None:
            extra[line].append(np.array([mark], np.int64))
    return [np.concatenate([segments[i], *extra[i]]) for i in lines]


def _span(boxes: Boxes, members: NDArray[np.int64]) -> tuple[int, int, int, int]:
    parts = boxes[members]
    return int(parts[:, 0].min()), int(parts[:, 1].min()), int(parts[:, 2].max()), int(parts[:, 3].max())


def _rough_em(boxes: Boxes, members: NDArray[np.int64]) -> float:
    parts = boxes[members]
    return max(float(parts[:, 3].max() - parts[:, 1].min()) / 1.05, float(np.median(parts[:, 3] - parts[:, 1])) / 0.6)


def _line(boxes: Boxes, members: NDArray[np.int64]) -> TextLine:
    """Size and baseline from the letters' own boxes: most of them stand on the baseline, some with an ascender."""
    parts = boxes[members]
    heights = parts[:, 3] - parts[:, 1]
    span = _span(boxes, members)
    line_height = span[3] - span[1]
    letters = parts[heights >= 0.35 * heights.max()]
    baseline = float(np.median(letters[:, 3]))
    letter_heights = letters[:, 3] - letters[:, 1]
    # small letters alone are half an em high, capitals alone two thirds: nothing tells which they are
    em = float(np.median(letter_heights)) / 0.52
    standing = letter_heights[np.abs(letters[:, 3] - baseline) <= 0.1 * line_height]
    tallest = float(standing.max(initial=0))
    if ((standing > 0.5 * tallest) & (standing < 0.82 * tallest)).sum() > 0.08 * len(standing):
        em = min(em, tallest / _ASCENDER_EM)  # both are there, but figures may be the most
    em = min(max(em, line_height / 1.1), line_height / 0.62)
    gaps = []
    order = np.argsort(parts[:, 0])
    right = parts[order[0], 2]
    for x0, _, x1, _ in parts[order[1:]]:
        if x0 - right > 0.12 * em:
            gaps.append(((x0 + right) / 2, float(x0 - right)))
        right = max(right, x1)
    return TextLine(span, em, baseline, members, tuple(gaps))


def reading_order(boxes: NDArray[Any]) -> list[int]:
    """Order of line boxes [m, 4] by Breuel's relations: above and overlapping, or left with nothing across between."""
    count = len(boxes)
    if count == 0:
        return []
    x0, y0, x1, y1 = boxes.T.astype(np.float64)
    middle = (y0 + y1) / 2
    slack = 0.1 * np.median(y1 - y0)
    overlaps = (np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)) > slack
    above = overlaps & (middle[:, None] < middle)
    left = (x1[:, None] <= x0 + slack) & ~overlaps
    before = above.copy()
    for a, b in zip(*np.nonzero(left), strict=True):
        low, high = sorted((middle[a], middle[b]))
        between = (middle > low + slack) & (middle < high - slack) & overlaps[a] & overlaps[b]
        if not between.any() or middle[a] < middle[b]:
            before[a, b] = True
    order: list[int] = []
    waits = before.sum(axis=0)
    open_ = np.ones(count, np.bool_)
    while len(order) < count:
        ready = np.nonzero(open_ & (waits == 0))[0]
        if not len(ready):  # a circle of boxes that overlap: the topmost breaks it
            ready = np.nonzero(open_)[0]
        following = [i for i in ready if order and before[order[-1], i]]
        chosen = int(min(following or list(ready), key=lambda i: (y0[i], x0[i])))
        order.append(chosen)
        open_[chosen] = False
        waits = waits - before[chosen]
    return order
