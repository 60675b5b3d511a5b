"""Filters that need no frame but the one: fields taken apart, and edges cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph

from operators.media.video.frame_color import matrix_of

Gray: TypeAlias = npt.NDArray[np.uint8]

_COMBED = 12
"""Levels by which a line stands out from both lines beside it, more than from those of its own field, where things have
moved between the fields."""
_BLOCK_PX = 8
_HALF = 0.6
"""Share of the lines that are seen, up to which those of one field are enough; tracing edges takes as long as decoding
dozens of frames."""
_FEW = 4
"""Such pixels of a block that may be chance."""


@dataclass(frozen=True)
class Deinterlaced:
    """weave: the frame with both its fields, for where nothing moves. field: its first field; the lines between made
    up by tracing edges, or left out where enough lines remain. combed: [height, width], 255 where things move, so that
    the field is the better picture; None where nothing does."""

    weave: Any
    field: Any = None
    combed: Gray | None = None


def deinterlaced(frame: Any, height: int) -> Deinterlaced:
    """A frame of two fields as progressive pictures, to be seen at that height. One that is progressive and only marked
    so (PsF) has no combs and stays as it is; so does what stands still."""
    try:
        weave = _filtered(frame, "setfield", "mode=prog")
        combed = _combed_blocks(weave.to_ndarray(format="gray", threads=1))
        if combed is None:
            return Deinterlaced(weave)
        if height <= _HALF * frame.height:
            return Deinterlaced(weave, _filtered(frame, "separatefields", ""), combed)
        return Deinterlaced(weave, _filtered(frame, "estdif", "mode=frame:deint=all"), combed)
    except av.FFmpegError:  # a frame of three lines
        return Deinterlaced(frame)


def cropped(frame: Any, left: int, top: int, right: int, bottom: int) -> Any:
    """Without that many pixels at its edges."""
    width, height = frame.width - left - right, frame.height - top - bottom
    return _filtered(frame, "crop", f"w={width}:h={height}:x={left}:y={top}:exact=1")


def _filtered(frame: Any, name: str, settings: str) -> Any:
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1:pixel_aspect=1/1"
        f":colorspace={frame.colorspace}:range={frame.color_range}",
    )
    step, sink = graph.add(name, settings), graph.add("buffersink")
    source.link_to(step)
    step.link_to(sink)
    graph.configure()
    graph.push(frame)
    graph.push(None)
    picture: Any = graph.pull()
    picture.colorspace = matrix_of(frame) or frame.colorspace  # guessed by its size, which may be another now
    for tag in ("color_range", "color_trc", "color_primaries"):
        setattr(picture, tag, getattr(frame, tag))
    return picture


def _combed_blocks(luma: Gray) -> Gray | None:
    """Where a line stands out from both lines beside it, more than from those of its own field; by every other
    column."""
    lines = np.ascontiguousarray(luma[:, ::2])
    if len(lines) < 5:
        return None
    same_before, before, line, after, same_after = (lines[at : len(lines) - 4 + at] for at in range(5))
    higher, lower = np.maximum(before, after), np.minimum(before, after)
    stands_out = np.maximum(np.maximum(line, higher) - higher, lower - np.minimum(line, lower))
    in_field = np.maximum(np.maximum(same_before, same_after), line) - np.minimum(
        np.minimum(same_before, same_after), line
    )
    combed = np.pad(np.maximum(stands_out, in_field) - in_field > _COMBED, ((2, 2), (0, 0))).repeat(2, 1)
    rows, columns = (-(-side // _BLOCK_PX) for side in luma.shape)
    padded = np.zeros((rows * _BLOCK_PX, columns * _BLOCK_PX), bool)
    padded[: luma.shape[0], : luma.shape[1]] = combed[:, : luma.shape[1]]
    blocks = padded.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX).sum((1, 3)) > _FEW
    if not blocks.any():
        return None
    # what moves has an edge that is not combed; it lies in the next block
    edged = np.pad(blocks, 1)
    blocks = np.logical_or.reduce([edged[y : y + rows, x : x + columns] for y in range(3) for x in range(3)])
    pixels: Gray = blocks.astype(np.uint8).repeat(_BLOCK_PX, 0).repeat(_BLOCK_PX, 1) * np.uint8(255)
    return pixels[: luma.shape[0], : luma.shape[1]]
