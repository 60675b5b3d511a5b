"""The decoder's process: probes and decodes one file at a time, a frame of the channel for every unit.

It is not trusted: it meets hostile files, under limits, and may die at any moment. So it gets files open and without
their paths, answers unit by unit, and sends pictures back in sealed memory, which the parent checks and maps
(operators/media/decoder_wire.py). Before it looks into the first file it locks itself down
(operators/processes/isolation.py), and says what it lacked for that.

A format's module (operators/media/formats.py) has

    probe(source: Source, settings: DecodeSettings) -> list[Planned]
    decode(source: Source, units: list[Planned], settings: DecodeSettings) -> Iterator[Decoded | InputError]

Both may raise InputError, about the whole file; `decode` yields one value for each unit, in order, and both call
`progress()` where they came further (operators/media/progress.py). Whatever else they raise costs the unit it was
raised at; `decode` is then called again for those behind it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from model.prompts.rgb import RGB, pack
from operators.media.decoder_wire import MOST_UNITS, pack_unit, pack_units, sealed
from operators.media.formats import HEAD_BYTES, format_of
from operators.media.kept_open import file_of, kept_open
from operators.media.progress import progress
from operators.media.source import Source, of_os
from operators.processes.channel import Channel
from operators.processes.child import EXIT_OUT_OF_MEMORY
from operators.processes.startup import lock_down, parent_channel
from operators.units import Decoded, LineImage, Planned
from schemas.checkout import ROOT
from schemas.decode import DecodeSettings
from schemas.errors import InputError
from schemas.request import Buffer


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
                    progress.tell(lambda steps: channel.send({"progress": steps}))
                kept_open.begin(file_of(fd) if "units" in order.head else None)
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
        if (head := pack_units(media, units)) is None:
            raise InputError("too_large", f"it has {len(units)} parts; at most {MOST_UNITS} are read")
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  this input's boundary
        head = {"media": media, "error": _failure("probe", _as_input_error(error))}
    channel.send(head)


def _decode(channel: Channel, source: Source, order: dict[str, Any], settings: DecodeSettings) -> None:
    units = [Planned(**unit) for unit in order["units"]]
    results = _results(source, order, units, settings)
    for _ in units:
        started = time.monotonic()
        head, parts = _message(next(results), started)
        if parts is None:
            channel.send(head)
        else:
            _send_unit(channel, head, parts)


def _message(result: Decoded | InputError, started: float) -> tuple[dict[str, Any], list[Buffer] | None]:
    """What is said of a unit, and its pictures if it has some."""
    try:
        if isinstance(result, InputError):
            raise result
        if (packed := pack_unit(_row(result, time.monotonic() - started))) is None:
            raise InputError("too_large", "it has more lines or frames than are taken at once")
        return packed
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  this unit's boundary
        return {"error": _failure("decode", _as_input_error(error)), "decode_s": time.monotonic() - started}, None


def _send_unit(channel: Channel, head: dict[str, Any], parts: list[Buffer]) -> None:
    memory = sealed(parts)
    try:
        channel.send(head, fds=[memory], waiting=progress)
    finally:
        os.close(memory)


def _results(
    source: Source, order: dict[str, Any], units: list[Planned], settings: DecodeSettings
) -> Iterator[Decoded | InputError]:
    """One for each of the units, then more. What the decoder raises about the file, before it gives anything, is true
    of all units; anything else is the fault of the unit that it was at, and it is called again for the others."""
    left = list(units)
    vain_s = 0.0
    while True:
        began, answers = time.monotonic(), 0
        try:
            _, module = _decoder(source, order["media"])
            for result in module.decode(source, left[:], settings):
                answers += 1
                left.pop(0)
                yield result
            fault = InputError("internal", "the decoder stopped early")
            break
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  this unit's boundary
            fault = _as_input_error(error, order["prefix"])
            about_all = isinstance(error, InputError)
        if answers == 0:
            # it may have to read much of the file to get to where it fails
            vain_s += time.monotonic() - began
            if about_all or vain_s > settings.timeout_s:
                break
        yield fault
        if left:
            left.pop(0)
    while True:
        yield fault


def _decoder(source: Source, media: str | None) -> tuple[str, ModuleType]:
    """What the file is, and the module that reads it. Raises InputError."""
    kind = format_of(source.address, media, source.head(HEAD_BYTES))
    if kind is None or kind.module is None:
        raise InputError("unknown_type", "neither its name nor its first bytes tell what it is")
    return kind.media, importlib.import_module(kind.module)


def _row(result: Decoded, seconds: float) -> dict[str, Any]:
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


def _as_input_error(error: Exception, prefix: str = "") -> InputError:
    """The reason of what a format's module raised, and where: a library that meets bytes which it did not expect, or a
    mistake of ours. prefix: of its message."""
    if isinstance(error, InputError):
        return InputError(error.kind, f"{prefix}{error}")
    if isinstance(error, OSError) and error.errno is not None:
        known = of_os(error)
        return InputError(known.kind, f"{prefix}{known}")
    (last,) = traceback.extract_tb(error.__traceback__)[-1:]
    file = Path(last.filename)
    is_mistake = isinstance(error, _MISTAKES) and file.is_relative_to(ROOT / "operators")
    message = f"{prefix}{type(error).__name__} at {file.name}:{last.lineno}: {error}"
    return InputError("internal" if is_mistake else "malformed", message)


_MISTAKES = (AssertionError, AttributeError, ImportError, NameError, NotImplementedError, TypeError)
"""Of ours, where our own code raises them. Libraries raise them too where bytes are not what they expect."""


def _failure(stage: str, error: InputError) -> dict[str, Any]:
    return {"stage": stage, "kind": error.kind, "message": str(error)[:500], "attempts": 1}


if __name__ == "__main__":
    main()
