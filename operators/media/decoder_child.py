"""The decoder's process: probes and decodes one file at a time, a frame of the channel for every unit.

It is not trusted: it meets hostile files, under limits, and may die at any moment. So it gets files open and without
their paths, answers unit by unit, and sends pictures back in sealed memory, which the parent checks and maps
(operators/media/decoder_wire.py). Before it looks into the first file it locks itself down
(operators/processes/isolation.py), and says what it lacked for that.

A format's module (operators/media/formats.py) has

    probe(source: Source, settings: DecodeSettings) -> list[Planned]
    decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]

Both may raise InputError or OSError; `decode` yields one value for each unit, in order.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from model.prompts.rgb import RGB, pack
from operators.media.decoder_wire import MOST_UNITS, pack_unit, pack_units, sealed
from operators.media.formats import HEAD_BYTES, format_of
from operators.media.source import Source, of_os
from operators.processes.channel import Channel
from operators.processes.child import EXIT_OUT_OF_MEMORY
from operators.processes.startup import lock_down, parent_channel
from operators.units import Decoded, LineImage, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError


def main() -> None:
    channel = parent_channel()
    locked = False
    try:
        while (order := channel.recv()) is not None:
            settings = DecodeSettings(**order.head["settings"])
            (fd,) = order.fds
            try:
                source = Source(fd, order.head["address"])
                if not locked:
                    _import_decoder(source, order.head["media"])
                    channel.send({"lacks": lock_down(file=fd if order.head["by_name"] else None)})
                    locked = True
                if "units" in order.head:
                    _decode(channel, source, order.head, settings)
                else:
                    _probe(channel, source, order.head["media"], settings)
            finally:
                os.close(fd)
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _import_decoder(source: Source, media: str | None) -> None:
    """While it may still write down what it compiled: the next child starts faster."""
    with contextlib.suppress(InputError, OSError):
        _decoder(source, media)


def _probe(channel: Channel, source: Source, media: str | None, settings: DecodeSettings) -> None:
    try:
        media, module = _decoder(source, media)
        units = module.probe(source, settings)
    except InputError as error:
        channel.send({"media": media, "error": _failure("probe", error)})
        return
    except OSError as error:
        channel.send({"media": media, "error": _failure("probe", of_os(error))})
        return
    if (head := pack_units(media, units)) is None:
        too_many = InputError("too_large", f"it has {len(units)} parts; at most {MOST_UNITS} are read")
        head = {"media": media, "error": _failure("probe", too_many)}
    channel.send(head)


def _decode(channel: Channel, source: Source, order: dict[str, Any], settings: DecodeSettings) -> None:
    units = [Planned(**unit) for unit in order["units"]]
    results = _results(source, order, units, settings)
    for _ in units:
        started = time.monotonic()
        result = next(results, None) or InputError("internal", "the decoder stopped early")
        row = _row(result, time.monotonic() - started)
        if row["error"] is None and (packed := pack_unit(row)) is not None:
            _send_unit(channel, *packed)
        else:
            too_large = InputError("too_large", "it has more lines or frames than are taken at once")
            error = row["error"] or _failure("decode", too_large)
            channel.send({"error": error, "decode_s": row["decode_s"]})


def _send_unit(channel: Channel, head: dict[str, Any], parts: list[bytes]) -> None:
    memory = sealed(parts)
    try:
        channel.send(head, fds=[memory])
    finally:
        os.close(memory)


def _results(
    source: Source, order: dict[str, Any], units: list[Planned], settings: DecodeSettings
) -> Iterator[Decoded | InputError]:
    try:
        _, module = _decoder(source, order["media"])
        yield from module.decode(source, units, settings)
    except InputError as error:
        fault = InputError(error.kind, f"{order['prefix']}{error}")
    except OSError as error:
        fault = of_os(error)
    else:
        return
    while True:
        yield fault


def _decoder(source: Source, media: str | None) -> tuple[str, ModuleType]:
    """What the file is, and the module that reads it. Raises InputError."""
    kind = format_of(source.address, media, source.head(HEAD_BYTES))
    if kind is None or kind.module is None:
        raise InputError("unknown_type", "neither its name nor its first bytes tell what it is")
    return kind.media, importlib.import_module(kind.module)


def _row(result: Decoded | InputError, seconds: float) -> dict[str, Any]:
    if isinstance(result, InputError):
        return {"error": _failure("decode", result), "decode_s": seconds}
    return {
        **result.facts(),
        "pictures": [_picture(frame) for frame in result.frames],
        "line_images": None if result.line_images is None else [_line_image(piece) for piece in result.line_images],
        "full_res": None if result.full_res is None else _picture(result.full_res),
        "decode_s": seconds,
        "error": None,
    }


def _line_image(piece: LineImage) -> dict[str, Any]:
    return {"line": piece.line, "bbox_px": list(piece.bbox_px), "picture": _picture(piece.frame)}


def _picture(frame: RGB) -> dict[str, Any]:
    return vars(pack(frame))


def _failure(stage: str, error: InputError) -> dict[str, Any]:
    return {"stage": stage, "kind": error.kind, "message": str(error)[:500], "attempts": 1}


if __name__ == "__main__":
    main()
