"""Clips drawn for tests: of any picture, codec, color and flag, and what a decoder child makes of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.codec import CodecContext
from av.filter import Graph

from model.prompts.rgb import unpack
from operators.media.sandbox import Sandbox
from schemas.decode import DecodeSettings
from schemas.request import Picture
from schemas.unit import Indexed

Pixels = npt.NDArray[Any]
RATE = 10
LOSSLESS = {"qp": "0"}
CORNERS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "Y": (255, 255, 0)}
SETTINGS = DecodeSettings(video_fps=2.0, timeout_s=60)


def quarters(height: int, width: int) -> Pixels:
    """Red, green, blue and yellow: top left, top right, bottom left, bottom right."""
    picture = np.zeros((height, width, 3), np.uint8)
    for index, color in enumerate(CORNERS.values()):
        y, x = index // 2 * height // 2, index % 2 * width // 2
        picture[y : y + height // 2 + 1, x : x + width // 2 + 1] = color
    return picture


def corners(picture: Pixels) -> str:
    """Letters of CORNERS, in reading order; W white, K black, ? else."""
    height, width = picture.shape[:2]
    names = {**CORNERS, "W": (255, 255, 255), "K": (0, 0, 0)}
    letters = ""
    for y, x in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        pixel = picture[int(height * y), int(width * x)].astype(int)
        near = [letter for letter, color in names.items() if np.abs(pixel - color).max() < 40]
        letters += near[0] if near else "?"
    return letters


def frame_of(picture: Pixels | av.VideoFrame) -> av.VideoFrame:
    if isinstance(picture, av.VideoFrame):
        return picture
    return av.VideoFrame.from_ndarray(picture, format={3: "rgb24", 4: "rgba"}[picture.shape[2]])


def by_filter(picture: Pixels | av.VideoFrame, text: str) -> av.VideoFrame:
    """The picture as a filter of FFmpeg's leaves it, which sets flags that PyAV cannot set. text: name=settings."""
    frame = frame_of(picture)
    frame.pts = 0
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, RATE))
    name, _, settings = text.partition("=")
    graph.link_nodes(source, graph.add(name, settings), graph.add("buffersink")).configure()
    graph.push(frame)
    graph.push(None)
    flagged = graph.pull()
    assert isinstance(flagged, av.VideoFrame)
    return flagged


def draw(
    path: Path,
    frames: Sequence[Pixels | av.VideoFrame],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    matrix: tuple[int, ...] | None = None,
    **tags: Any,
) -> Path:
    """A clip of one stream, RATE frames a second. options: of the encoder. container: of the muxer. matrix: nine
    numbers by which it is displayed. tags: attributes of the encoder."""
    with av.open(str(path), "w", options=container or {}) as file:
        add_stream(file, frames, codec, pix_fmt, options=options, matrix=matrix, **tags)()
    return path


def add_stream(
    file: Any,
    frames: Sequence[Pixels | av.VideoFrame],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    options: dict[str, str] | None = None,
    matrix: tuple[int, ...] | None = None,
    disposition: int | None = None,
    **tags: Any,
) -> Any:
    """Encodes its frames when it is called, after all streams are there."""
    stream = file.add_stream(codec, rate=RATE, options=options or {})
    drawn = [frame_of(picture) for picture in frames]
    stream.width, stream.height, stream.pix_fmt = drawn[0].width, drawn[0].height, pix_fmt
    if matrix is not None:
        stream.set_display_matrix(matrix)
    if disposition is not None:
        stream.disposition = disposition
    for name, value in tags.items():
        setattr(stream.codec_context, name, value)

    def write() -> None:
        for index, frame in enumerate(drawn):
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())

    return write


def draw_parts(path: Path, parts: Iterable[Sequence[Pixels]], codec: str = "libx264") -> Path:
    """One stream whose frames change their size from part to part, as live streams do."""
    with av.open(str(path), "w") as file:
        stream: Any = None
        start = 0
        for part in parts:
            encoder: Any = CodecContext.create(codec, "w")
            encoder.height, encoder.width = part[0].shape[:2]
            encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, RATE), RATE
            encoder.gop_size, encoder.max_b_frames = 10, 0
            if stream is None:
                stream = file.add_stream(codec, rate=RATE)
                stream.height, stream.width = part[0].shape[:2]
                stream.pix_fmt = "yuv420p"
            for index, picture in enumerate([*part, None]):
                frame = None if picture is None else frame_of(picture)
                if frame is not None:
                    frame.pts, frame.time_base = start + index, Fraction(1, RATE)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    packet.time_base = Fraction(1, RATE)
                    file.mux(packet)
            start += len(part)
    return path


@dataclass(frozen=True)
class Clip:
    """What reaches the model of a unit, or why nothing does."""

    pictures: tuple[Pixels, ...]
    times_s: tuple[float, ...]
    size_px: tuple[int, int]  # height, width
    notes: tuple[str, ...]
    error: dict[str, Any] | None = None

    @property
    def picture(self) -> Pixels:
        assert self.error is None, self.error
        return self.pictures[0]


def shown(path: Path, settings: DecodeSettings = SETTINGS) -> list[Clip]:
    """Every unit of a video, as the sandboxed decoder gives it."""
    with closing(Sandbox(settings)) as sandbox:
        return shown_by(sandbox, path)


def shown_by(sandbox: Sandbox, path: Path) -> list[Clip]:
    answer = sandbox.probe(str(path), "video")
    if "error" in answer:
        return [_failed(answer["error"])]
    units = [unit for unit in answer["units"] if unit.get("error") is None]
    failures = [_failed(unit["error"]) for unit in answer["units"] if unit.get("error") is not None]
    orders = [Indexed(unit["page"], unit["start_s"], unit["end_s"], unit["index"]) for unit in units]
    return [_clip(batch.to_pylist()[0]) for batch in _decoded(sandbox, path, orders)] + failures


def _decoded(sandbox: Sandbox, path: Path, orders: list[Indexed]) -> list[Any]:
    return list(sandbox.decode(str(path), "video", orders))


def _clip(row: dict[str, Any]) -> Clip:
    if row["error"] is not None:
        return _failed(row["error"])
    frames = tuple(unpack(Picture(**picture)) for picture in row["pictures"])
    return Clip(frames, tuple(row["times_s"]), (row["height_px"], row["width_px"]), tuple(row["input_notes"]))


def _failed(error: dict[str, Any]) -> Clip:
    return Clip((), (), (0, 0), (), error)


def add_box(data: bytes, path: Sequence[tuple[bytes, int]], box: bytes) -> bytes:
    """An MP4 file with one more box at the end of the box by that path, whose `moov` lies at its end. path: (kind,
    bytes before the boxes in it)."""
    start, end, places = 0, len(data), list[int]()
    for kind, skipped in path:
        at = start
        while data[at + 4 : at + 8] != kind:
            at += int.from_bytes(data[at : at + 4], "big")
            assert at < end, kind
        places.append(at)
        start, end = at + 8 + skipped, at + int.from_bytes(data[at : at + 4], "big")
    for at in places:
        size = int.from_bytes(data[at : at + 4], "big") + len(box)
        data = data[:at] + size.to_bytes(4, "big") + data[at + 4 :]
    return data[:end] + box + data[end:]


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


TO_STREAM = ((b"moov", 0), (b"trak", 0), (b"mdia", 0), (b"minf", 0), (b"stbl", 0), (b"stsd", 8))
TO_DESCRIPTION = (*TO_STREAM, (b"avc1", 78))
