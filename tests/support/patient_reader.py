"""What a patient reader gets out of files, with none of our code: python -m tests.support.patient_reader PATH...

A line of JSON for each: {"media", "units": how many pictures, pages or frames it read, "times_s": of frames, from the
first on, "told": whether a library says that some is missing or damaged}. Videos packet by packet, damage costing the
packet that it lies in; pictures with what is missing in gray; pages one by one. It may die of a file: `read_all` goes
on behind it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MOST_UNITS = 300
TIMEOUT_S = 60


def read_all(paths: list[tuple[Path, str]]) -> list[dict[str, Any] | None]:
    """paths: with the media that each is read as. None for what took its reader down."""
    reads: list[dict[str, Any] | None] = []
    while len(reads) < len(paths):
        arguments = [f"{media}:{path}" for path, media in paths[len(reads) :]]
        command = [sys.executable, "-m", "tests.support.patient_reader", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            reads += map(json.loads, process.stdout)
        if process.returncode:
            reads.append(None)
    return reads


def main() -> None:
    import faulthandler

    for argument in sys.argv[1:]:
        media, _, path = argument.partition(":")
        faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
        answer = {"media": media, "units": 0, "times_s": [], "told": False}
        try:
            {"image": _picture, "document": _pages, "video": _frames}[media](path, answer)
        except Exception as error:  # noqa: BLE001  whatever libraries raise
            answer |= {"told": True, "error": repr(error)[:200]}
        print(json.dumps(answer), flush=True)


def _picture(path: str, answer: dict[str, Any]) -> None:
    import warnings

    from PIL import Image, ImageFile

    warnings.simplefilter("ignore")
    with contextlib.suppress(Exception), Image.open(path) as picture:
        try:
            picture.load()
        except OSError as error:
            answer["told"] = any(word in str(error) for word in ("truncated", "data stream"))
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    with Image.open(path) as picture:
        several = picture.format in ("TIFF", "GIF", "WEBP", "PNG")
        for index in range(min(MOST_UNITS, getattr(picture, "n_frames", 1)) if several else 1):
            try:
                picture.seek(index)
                if picture.format == "TIFF" and int(picture.tag_v2.get(254, 0)) & 5:  # type: ignore[attr-defined]
                    continue
                picture.load()
                answer["units"] += 1
            except Exception:  # noqa: BLE001
                continue


def _pages(path: str, answer: dict[str, Any]) -> None:
    import pypdfium2

    document = pypdfium2.PdfDocument(path)
    for index in range(min(MOST_UNITS, len(document))):
        try:
            document[index].render(scale=0.2)
            answer["units"] += 1
        except Exception:  # noqa: BLE001
            answer["told"] = True


def _frames(path: str, answer: dict[str, Any]) -> None:
    import av

    av.logging.set_level(av.logging.PANIC)
    times: list[float] = []
    with av.open(path, metadata_errors="replace") as container:
        stream = container.streams.video[0]
        packets = container.demux(stream)
        errors = 0
        while errors < 1000:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                break
            except av.FFmpegError:
                answer["told"] = True
                errors += 1
                continue
            for frame in frames:
                answer["told"] |= bool(frame.is_corrupt)
                if frame.time is not None:
                    times.append(frame.time)
    answer["units"] = len(times)
    answer["times_s"] = sorted(round(time - min(times), 3) for time in times)


if __name__ == "__main__":
    main()
