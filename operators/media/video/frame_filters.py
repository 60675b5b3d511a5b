"""Filters that need no frame but the one: fields taken apart, and edges cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph

Gray: TypeAlias = npt.NDArray[np.uint8]

_COMBED = 24
"""Levels by which a line differs from what the lines beside it suggest, where that is taken for motion between the
fields."""
_BLOCK_PX = 8
_FEW = 2
"""Such pixels of a block that may be chance."""


@dataclass(frozen=True)
class Deinterlaced:
    """weave: the frame with its combs smoothed, sharp where nothing moves. field: its first field, the lines between
    interpolated. combed: [height, width], 255 where things move so that the field is the better picture; None where
    nothing moves."""

    weave: Any
    field: Any = None
    combed: Gray | None = None


def deinterlaced(frame: Any) -> Deinterlaced:
    """A frame of two fields as progressive pictures.

    yadif without neighbors keeps what both fields agree on, so frames that are progressive but marked otherwise (PsF)
    pass through it nearly untouched; where it has much to do, estdif traces the edges of one field.
    """
    try:
        weave = _filtered(frame, "yadif", "mode=send_frame:deint=all")
        combed = _combed_blocks(_luma(weave), _luma(_filtered(frame, "setfield", "mode=prog")))
        if combed is None:
            return Deinterlaced(weave)
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
    for tag in ("colorspace", "color_range", "color_trc", "color_primaries"):
        setattr(picture, tag, getattr(frame, tag))
    return picture


def _luma(frame: Any) -> Gray:
    pixels: Gray = frame.to_ndarray(format="gray")
    return pixels


def _combed_blocks(smooth: Gray, woven: Gray) -> Gray | None:
    differs = np.abs(np.subtract(smooth, woven, dtype=np.int16)) > _COMBED
    rows, columns = (-(-side // _BLOCK_PX) for side in differs.shape)
    padded = np.zeros((rows * _BLOCK_PX, columns * _BLOCK_PX), bool)
    padded[: differs.shape[0], : differs.shape[1]] = differs
    blocks = padded.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX).sum((1, 3)) > _FEW
    if not blocks.any():
        return None
    # what moves has an edge that is not combed; it lies in the next block
    edged = np.pad(blocks, 1)
    blocks = np.logical_or.reduce([edged[y : y + rows, x : x + columns] for y in range(3) for x in range(3)])
    expanded: Gray = blocks.repeat(_BLOCK_PX, 0).repeat(_BLOCK_PX, 1)[
        : differs.shape[0], : differs.shape[1]
    ] * np.uint8(255)
    return expanded
