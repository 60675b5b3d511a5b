"""The decoder's process: probes and decodes one file at a time, a frame of the channel for every unit.

It is not trusted: it meets hostile files, under limits, and may die at any moment. So it answers unit by unit,
and pictures go back in sealed memory (memfd) as an Arrow stream, which the parent checks and maps.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from operators.processes.channel import Channel
from operators.processes.child import EXIT_OUT_OF_MEMORY
from operators.processes.startup import parent_channel
from operators.units import RGB, Decoded, LineImage, Planned
from schemas import tables
from schemas.decode import DecodeSettings, Media
from schemas.errors import InputError

_ZSTD = pa.Codec("zstd", compression_level=1)

_MAGIC: tuple[tuple[int, bytes, Media], ...] = (
    (0, b"%PDF-", "document"),
    (0, b"\xff\xd8\xff", "image"),
    (0, b"\x89PNG\r\n\x1a\n", "image"),
    (0, b"GIF8", "image"),
    (0, b"II*\0", "image"),
    (0, b"MM\0*", "image"),
    (0, b"BM", "image"),
    (8, b"WEBP", "image"),
    (4, b"ftyp", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),
    (8, b"AVI ", "video"),
    (0, b"\0\0\1\xba", "video"),
    (0, b"FLV\1", "video"),
)


def main() -> None:
    channel = parent_channel()
    try:
        while (order := channel.recv()) is not None:
            settings = DecodeSettings(**order.head["settings"])
            path = Path(order.head["path"])
            if "units" in order.head:
                _decode(channel, path, order.head["media"], order.head["units"], settings)
            else:
                _probe(channel, path, order.head["media"], settings)
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _probe(channel: Channel, path: Path, media: Media | None, settings: DecodeSettings) -> None:
    try:
        _readable(path, media)
        media = media or _sniff(path)
        match media:
            case "document":
                from operators.media.render_pdf import probe
            case "image":
                from operators.media.images import probe
            case "episode":
                from operators.media.episode import probe
            case "video":
                from operators.media.video_pyav import probe
        units = probe(path, settings)
    except InputError as error:
        channel.send({"media": media, "error": _failure("probe", error)})
        return
    except OSError as error:
        channel.send({"media": media, "error": _failure("probe", _of_os(error))})
        return
    channel.send({"media": media, "units": [asdict(unit) for unit in units]})


def _decode(channel: Channel, path: Path, media: Media, wanted: list[dict[str, Any]], settings: DecodeSettings) -> None:
    units = [Planned(**unit) for unit in wanted]
    results = _results(path, media, units, settings)
    for _ in units:
        started = time.monotonic()
        result = next(results, None) or InputError("internal", "the decoder stopped early")
        row = _row(result, time.monotonic() - started)
        memory = _to_memory(pa.RecordBatch.from_pylist([row], schema=tables.DECODED))
        try:
            channel.send({"unit": True}, fds=[memory])
        finally:
            os.close(memory)


def _results(
    path: Path, media: Media, units: list[Planned], settings: DecodeSettings
) -> Iterator[Decoded | InputError]:
    try:
        _readable(path, media)
        match media:
            case "document":
                from operators.media.render_pdf import decode
            case "image":
                from operators.media.images import decode
            case "episode":
                from operators.media.episode import decode
            case "video" if settings.video_backend == "decord":
                from operators.media.video_decord import decode
            case "video":
                from operators.media.video_pyav import decode
        yield from decode(path, units, settings)
    except InputError as error:
        fault = error
    except OSError as error:
        fault = _of_os(error)
    else:
        return
    while True:
        yield fault


def _row(result: Decoded | InputError, seconds: float) -> dict[str, Any]:
    if isinstance(result, InputError):
        return {"error": _failure("decode", result), "decode_s": seconds}
    return {
        "width_px": result.width_px,
        "height_px": result.height_px,
        "times_s": list(result.times_s),
        "pictures": [_picture(frame) for frame in result.frames],
        "line_images": None if result.line_images is None else [_strip(strip) for strip in result.line_images],
        "full_res": None if result.full_res is None else _picture(result.full_res),
        "text_layer": result.text_layer,
        "blank": result.blank,
        "decode_s": seconds,
        "error": None,
    }


def _strip(strip: LineImage) -> dict[str, Any]:
    return {"line": strip.line, "bbox_px": list(strip.bbox_px), "picture": _picture(strip.frame)}


def _picture(frame: RGB) -> dict[str, Any]:
    data = _ZSTD.compress(pa.py_buffer(np.ascontiguousarray(frame)), asbytes=True)
    return {"width_px": frame.shape[1], "height_px": frame.shape[0], "data": data}


def _to_memory(batch: pa.RecordBatch) -> int:
    """The batch as an Arrow stream in anonymous memory; the file descriptor."""
    memory = os.memfd_create("unit", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(memory), "wb") as file, pa.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)
    return memory


def _readable(path: Path, media: Media | None) -> None:
    """Raises InputError for what no decoder needs to see."""
    if media == "episode":
        return
    if path.is_dir():
        raise InputError("unknown_type", "this is a folder")
    with path.open("rb") as file:
        if not file.read(1):
            raise InputError("empty_file", "the file is empty")


def _sniff(path: Path) -> Media:
    with path.open("rb") as file:
        head = file.read(16)
    for offset, magic, media in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return media
    raise InputError("unknown_type", "neither its name nor its first bytes tell what it is")


def _of_os(error: OSError) -> InputError:
    kinds = {errno.ENOENT: "not_found", errno.EACCES: "permission", errno.EPERM: "permission"}
    return InputError(kinds.get(error.errno or 0, "malformed"), error.strerror or str(error))


def _failure(stage: str, error: InputError) -> dict[str, Any]:
    return {"stage": stage, "kind": error.kind, "message": str(error)[:500], "attempts": 1}


if __name__ == "__main__":
    main()
