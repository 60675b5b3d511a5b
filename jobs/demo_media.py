"""Writes the demo's inputs: a PDF with a text layer, pictures and a clip. Knows nothing of models or Ray.

Everything is drawn here from constants, so the demo needs no download and its right answers are known:
`PAGES`, `SIGN` and `SHAPES` are the ground truth. Nothing in model/nano/ may train on these texts.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import cos, pi, sin
from pathlib import Path
from typing import Literal

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font = Literal["Helvetica", "Helvetica-Bold", "Times-Roman", "Times-Italic"]
FONTS: tuple[Font, ...] = ("Helvetica", "Helvetica-Bold", "Times-Roman", "Times-Italic")
"""Of the fourteen fonts that every PDF reader has, so nothing needs embedding (ISO 32000-1, 9.6.2.2)."""

PAGE_WIDTH_PT, PAGE_HEIGHT_PT = 595, 842
CLIP_FPS, CLIP_S = 24, 12
CLIP_WIDTH_PX, CLIP_HEIGHT_PX = 480, 272


@dataclass(frozen=True)
class Line:
    """One line of a page; size_pt is the font's size, gap_pt the distance from the previous baseline."""

    text: str
    font: Font = "Helvetica"
    size_pt: int = 12
    gap_pt: int = 20


PAGES: tuple[tuple[Line, ...], ...] = (
    (
        Line("The Lighthouse at Grey Point", "Helvetica-Bold", 22, 40),
        Line("A short report for visitors and volunteers", "Times-Italic", 14, 30),
        Line("The tower was built in 1874 and stands 31 metres high.", gap_pt=44),
        Line("Its lamp was lit with oil until the spring of 1922, when"),
        Line("the harbour office paid for an electric line along the coast."),
        Line("On a clear night the beam can be seen 18 miles out at sea."),
        Line("Visitors may climb the 142 steps from May to October.", gap_pt=34),
        Line("Please keep children close and leave bags at the door."),
    ),
    (
        Line("Opening hours and prices", "Helvetica-Bold", 20, 40),
        Line("Monday to Friday: 10:00 - 17:30", "Times-Roman", 14, 40),
        Line("Saturday and Sunday: 9:00 - 19:00", "Times-Roman", 14, 24),
        Line("Adults: $7.50", "Times-Roman", 14, 36),
        Line("Children under 12: $3.25", "Times-Roman", 14, 24),
        Line("Groups of ten or more: $60.00", "Times-Roman", 14, 24),
        Line("Tickets are sold at the gate. Cards are welcome.", gap_pt=40),
        Line("Call 555-0148 for guided tours in winter."),
    ),
    (
        Line("How the lamp is kept", "Helvetica-Bold", 20, 40),
        Line("1. Wipe the glass every morning with a dry cloth.", gap_pt=40),
        Line("2. Check the spare bulb and write its number in the log."),
        Line("3. Wind the clock that turns the lens, twelve full turns."),
        Line("4. Close the curtains before noon; the lens can start a fire."),
        Line('"Keep the light, and the light keeps you."', "Times-Italic", 14, 44),
        Line("Last checked on 14 March by R. Hollis", "Times-Roman", 12, 30),
    ),
)
"""The document, page by page and line by line."""

SIGN: tuple[str, ...] = ("HARBOUR CAFE", "Fresh bread daily", "Open 8 - 16")
"""Lines of the sign, top to bottom."""

SHAPES: tuple[tuple[str, str, tuple[int, int, int, int]], ...] = (
    ("circle", "red", (40, 60, 160, 180)),
    ("square", "blue", (240, 80, 350, 190)),
    ("triangle", "green", (430, 60, 560, 180)),
)
"""Shape, color and box (x0, y0, x1, y1 in pixels) of what stands in the shapes picture, named below each."""

TICKET = "Platform 4 - Coach B - Seat 27"

_COLORS = {"red": (205, 45, 40), "blue": (35, 80, 190), "green": (30, 140, 70)}


def write_demo_media(folder: Path) -> list[Path]:
    """Write what is missing of the demo's inputs into `folder` and return the paths of all of them.

    A file that is there already is left alone, so a second call does nothing; a file appears under its name
    only when it is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[Path], None]] = {
        "lighthouse.pdf": _write_document,
        "sign.png": _write_sign,
        "shapes.jpg": _write_shapes,
        "ticket.png": _write_ticket,
        "clock.mp4": _write_clip,
    }
    paths = []
    for name, write in writers.items():
        path = folder / name
        paths.append(path)
        if not path.exists():
            # the extension stays last: Pillow and FFmpeg choose the format by it
            unfinished = folder / f".{os.getpid()}-{name}"
            try:
                write(unfinished)
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
    return paths


def pdf_bytes(pages: tuple[tuple[Line, ...], ...]) -> bytes:
    """A PDF 1.4 file of A4 pages with a text layer; texts in Latin-1 (WinAnsiEncoding)."""
    font_names = {font: f"F{index}" for index, font in enumerate(FONTS, 1)}
    first_page = 3 + len(FONTS)  # objects: 1 catalog, 2 page tree, the fonts, then (page, content) pairs
    kids = " ".join(f"{first_page + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        *(f"<< /Type /Font /Subtype /Type1 /BaseFont /{font} /Encoding /WinAnsiEncoding >>".encode() for font in FONTS),
    ]
    resources = " ".join(f"/{name} {3 + index} 0 R" for index, name in enumerate(font_names.values()))
    for index, lines in enumerate(pages):
        content = _page_content(lines, font_names)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {PAGE_WIDTH_PT} {PAGE_HEIGHT_PT}] "
            f"/Resources << /Font << {resources} >> >> /Contents {first_page + 2 * index + 1} 0 R >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))

    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")  # four high bytes mark the file as binary
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for offset in offsets:
        out += b"%010d 00000 n \n" % offset
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)


def _page_content(lines: tuple[Line, ...], font_names: dict[Font, str]) -> bytes:
    y_pt = PAGE_HEIGHT_PT - 60
    parts = []
    for line in lines:
        y_pt -= line.gap_pt
        text = line.text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        parts.append(f"BT /{font_names[line.font]} {line.size_pt} Tf 72 {y_pt} Td ({text}) Tj ET")
    return "\n".join(parts).encode("latin-1")


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)  # Aileron, inside Pillow: there on a bare machine too


def _write_document(path: Path) -> None:
    path.write_bytes(pdf_bytes(PAGES))


def _write_sign(path: Path) -> None:
    picture = Image.new("RGB", (640, 352), (244, 240, 226))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((14, 14, 625, 337), outline=(30, 60, 90), width=6)
    for text, y_px, size_px in zip(SIGN, (62, 168, 240), (64, 44, 44), strict=True):
        draw.text((320, y_px), text, fill=(30, 60, 90), font=_font(size_px), anchor="mt")
    picture.save(path)


def _write_shapes(path: Path) -> None:
    picture = Image.new("RGB", (608, 288), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    for shape, color, box_px in SHAPES:
        x0, y0, x1, y1 = box_px
        if shape == "circle":
            draw.ellipse(box_px, fill=_COLORS[color])
        elif shape == "square":
            draw.rectangle(box_px, fill=_COLORS[color])
        else:
            draw.polygon(((x0, y1), (x1, y1), ((x0 + x1) // 2, y0)), fill=_COLORS[color])
        draw.text(((x0 + x1) // 2, 216), f"{color} {shape}", fill=(0, 0, 0), font=_font(26), anchor="mt")
    picture.save(path, quality=92)


def _write_ticket(path: Path) -> None:
    font = _font(28)
    width_px = round(font.getlength(TICKET)) + 48
    picture = Image.new("RGB", (width_px, 64), (255, 255, 255))
    ImageDraw.Draw(picture).text((24, 32), TICKET, fill=(20, 20, 20), font=font, anchor="lm")
    picture.save(path)


def _write_clip(path: Path) -> None:
    """A red circle that crosses to the right, a blue square that circles from second 6 on, and a clock."""
    encode_clip(path, [_clip_picture(index / CLIP_FPS) for index in range(CLIP_FPS * CLIP_S)], CLIP_FPS)


def encode_clip(path: Path, pictures: Sequence[Image.Image], fps: int) -> None:
    # bitexact and one thread: the same bytes on every machine with this FFmpeg
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=fps, options={"flags": "+bitexact"})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate, stream.gop_size = 600_000, fps
        stream.codec_context.thread_count = 1
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture))
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _clip_picture(time_s: float) -> Image.Image:
    picture = Image.new("RGB", (CLIP_WIDTH_PX, CLIP_HEIGHT_PX), (250, 250, 250))
    draw = ImageDraw.Draw(picture)
    x_px = 40 + (CLIP_WIDTH_PX - 80) * time_s / CLIP_S
    draw.ellipse((x_px - 30, 80, x_px + 30, 140), fill=_COLORS["red"])
    if time_s >= CLIP_S / 2:
        angle = 2 * pi * time_s / 4
        x_px, y_px = 240 + 70 * cos(angle), 190 + 30 * sin(angle)
        draw.rectangle((x_px - 28, y_px - 28, x_px + 28, y_px + 28), fill=_COLORS["blue"])
    clock = f"00:{int(time_s):02d}.{int(time_s * 10) % 10}"
    draw.text((20, 14), clock, fill=(0, 0, 0), font=_font(36))
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the demo's inputs; what is there already stays as it is.")
    parser.add_argument("folder", type=Path)
    for path in write_demo_media(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
