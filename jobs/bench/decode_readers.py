"""The peers of `sightread bench decode`, each as a careful user would call it: one thread, its own scaler, and the way
through the file that it offers for few frames. Every one gives RGB [height, width, 3] at the size that is asked for.

Imports a library only for its own reader, and nothing of ours: a peer may run under another interpreter.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
_SAME_S = 1e-6
_FAR_S = 2.0
"""Between two wanted frames, from which OpenCV is sent there and not read on."""


@dataclass(frozen=True)
class Wanted:
    """Of a file: the frames on screen at these times, or its first pages. sizes: (width, height) in pixels, one for all
    frames or one for each page. fps, clip_s: by which sightread comes to the same."""

    path: str
    times_s: tuple[float, ...]
    sizes: tuple[tuple[int, int], ...]
    fps: float = 0.0
    clip_s: float = 0.0


Shown = list[tuple[Picture, float]]
"""Pictures, and when the reader says that each begins; 0 for a page."""


class Decord:
    """By index; the frame on screen is found by its own table of times."""

    def __init__(self) -> None:
        self._decord: Any = importlib.import_module("decord")
        self.version = f"decord {self._decord.__version__}"

    def read(self, wanted: Wanted) -> Shown:
        width, height = wanted.sizes[0]
        reader = self._decord.VideoReader(
            wanted.path, ctx=self._decord.cpu(0), width=width, height=height, num_threads=1
        )
        starts = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        chosen = np.maximum(np.searchsorted(starts, np.asarray(wanted.times_s) + _SAME_S, side="right") - 1, 0)
        pictures = reader.get_batch(chosen).asnumpy()
        return list(zip(pictures, starts[chosen].tolist(), strict=True))


class Torchcodec:
    """By time. seek_mode: `approximate` trusts the file's header instead of reading all packets first."""

    def __init__(self, seek_mode: str = "exact") -> None:
        # it looks for torchvision, whose wheel does not load beside a torch for CPUs, and does without one
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        self._decoders: Any = importlib.import_module("torchcodec.decoders")
        self._transforms: Any = importlib.import_module("torchcodec.transforms")
        self.version = f"torchcodec {importlib.metadata.version('torchcodec')}"
        self._seek_mode = seek_mode
        importlib.import_module("torch").set_num_threads(1)

    def read(self, wanted: Wanted) -> Shown:
        decoder = self._decoders.VideoDecoder(
            wanted.path,
            dimension_order="NHWC",
            num_ffmpeg_threads=1,
            seek_mode=self._seek_mode,
            transforms=[self._transforms.Resize(wanted.sizes[0][::-1])],
        )
        first_s = decoder.metadata.begin_stream_seconds
        batch = decoder.get_frames_played_at(seconds=[first_s + time_s + _SAME_S for time_s in wanted.times_s])
        times_s = [time_s - first_s for time_s in batch.pts_seconds.tolist()]
        return list(zip(batch.data.numpy(), times_s, strict=True))


class TorchcodecApproximate(Torchcodec):
    def __init__(self) -> None:
        super().__init__("approximate")


class OpenCV:
    """Frame after frame by the stated rate, or with seeks by number where what is wanted lies far apart."""

    def __init__(self) -> None:
        self._cv2: Any = importlib.import_module("cv2")
        self._cv2.setNumThreads(1)
        self.version = f"OpenCV {self._cv2.__version__}"

    def read(self, wanted: Wanted) -> Shown:
        cv2 = self._cv2
        capture = cv2.VideoCapture(wanted.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        rate = capture.get(cv2.CAP_PROP_FPS)
        at, shown = 0, Shown()
        for time_s in wanted.times_s:
            number = int(time_s * rate + 1e-3)
            if number - at > _FAR_S * rate:
                capture.set(cv2.CAP_PROP_POS_FRAMES, number)
                at = number
            while at <= number and capture.grab():
                at += 1
            begins_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            is_there, frame = capture.retrieve()
            if not is_there:
                break
            frame = cv2.resize(frame, wanted.sizes[0], interpolation=cv2.INTER_AREA)
            shown.append((cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), begins_s))
        capture.release()
        return shown


class PyAV:
    """Every frame from the first, with FFmpeg's scaler: what is frame-exact without an index."""

    def __init__(self) -> None:
        self._av: Any = importlib.import_module("av")
        self._reformatter: Any = importlib.import_module("av.video.reformatter")
        self.version = f"PyAV {self._av.__version__}"

    def read(self, wanted: Wanted) -> Shown:
        scaler = self._reformatter.VideoReformatter()
        width, height = wanted.sizes[0]
        shown = []
        for frame, time_s in on_screen(self._av, wanted.path, wanted.times_s):
            scaled = scaler.reformat(frame, width=width, height=height, format="rgb24", threads=1)
            shown.append((scaled.to_ndarray(), time_s))
        return shown


def on_screen(av: Any, path: str, wanted_s: Sequence[float]) -> Iterator[tuple[Any, float]]:
    """For each wanted time the frame that is on screen then, and when it begins, by decoding all before it."""
    at, before = 0, None
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        first_s = float((stream.start_time or 0) * stream.time_base)
        for frame in container.decode(stream):
            begins_s = float(frame.pts * frame.time_base) - first_s
            while before is not None and at < len(wanted_s) and wanted_s[at] + _SAME_S < begins_s:
                yield before
                at += 1
            if at == len(wanted_s):
                return
            before = frame, begins_s
    while before is not None and at < len(wanted_s):
        yield before
        at += 1


class Pdfium:
    """PDFium straight to the wanted size, and its pixels as an array; no text is looked at."""

    def __init__(self) -> None:
        self._pdfium: Any = importlib.import_module("pypdfium2")
        self.version = f"pypdfium2 {self._pdfium.PYPDFIUM_INFO}"

    def read(self, wanted: Wanted) -> Shown:
        raw, shown = self._pdfium.raw, []
        document = self._pdfium.PdfDocument(wanted.path)
        for number, (width, height) in enumerate(wanted.sizes):
            page = document[number]
            bitmap = self._pdfium.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR, rev_byteorder=True)
            bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
            flags = raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER
            raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
            shown.append((np.ascontiguousarray(bitmap.to_numpy()), 0.0))
            bitmap.close()
            page.close()
        document.close()
        return shown


class MuPDF:
    """PyMuPDF. AGPL-3.0: only ever in an environment of its own."""

    def __init__(self) -> None:
        self._pymupdf: Any = importlib.import_module("pymupdf")
        self.version = f"PyMuPDF {self._pymupdf.__version__}"

    def read(self, wanted: Wanted) -> Shown:
        shown = []
        with self._pymupdf.open(wanted.path) as document:
            for page, (width, height) in zip(document, wanted.sizes, strict=False):
                scale = self._pymupdf.Matrix(width / page.rect.width, height / page.rect.height)
                pixels = page.get_pixmap(matrix=scale, alpha=False)
                picture = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, 3)
                shown.append((picture, 0.0))
        return shown


class Poppler:
    """pdftoppm, a process for each stretch of pages of one size."""

    def __init__(self) -> None:
        try:
            output = subprocess.run(["pdftoppm", "-v"], capture_output=True, text=True, check=True).stderr  # noqa: S607
        except FileNotFoundError as error:
            raise ImportError("No program named 'pdftoppm'") from error
        self.version = f"poppler {output.split()[2]}"

    def read(self, wanted: Wanted) -> Shown:
        shown = Shown()
        for (width, height), group in groupby(wanted.sizes):
            first = len(shown) + 1
            last = len(shown) + len(list(group))
            command = ["pdftoppm", "-f", f"{first}", "-l", f"{last}", "-scale-to-x", f"{width}"]
            command += ["-scale-to-y", f"{height}", wanted.path]
            stream = io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)
            shown += [(_netpbm(stream), 0.0) for _ in range(first, last + 1)]
        return shown


def _netpbm(stream: io.BytesIO) -> Picture:
    """The next picture of one or more in the form P6."""
    if stream.readline().strip() != b"P6":
        raise ValueError("pdftoppm gave fewer pages")
    width, height = map(int, stream.readline().split())
    stream.readline()
    return np.frombuffer(stream.read(width * height * 3), np.uint8).reshape(height, width, 3)
