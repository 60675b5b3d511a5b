"""Test media made inline: clips with chosen timestamps, damaged files, PDFs that bite."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from jobs.demo_media import Line, pdf_bytes

MS = Fraction(1, 1000)


def write_clip(
    path: Path,
    times_ms: Sequence[int],
    *,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 2,
    offset_ms: int = 0,
    rate: Fraction = Fraction(1000),
    options: dict[str, str] | None = None,
    color: tuple[int, int, int] | None = None,
) -> Path:
    """A clip whose frame k is shown at times_ms[k]. Each frame is a flat gray of its own (gray_of), or all of color."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = MS
        stream.codec_context.time_base = MS
        stream.gop_size = gop
        stream.max_b_frames = b_frames
        for index, time_ms in enumerate(times_ms):
            gray = 16 + 3 * index % 216
            pixels = np.full((size[1], size[0], 3), color or gray, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time_ms + offset_ms, MS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def gray_of(index: int) -> int:
    """Of frame `index` of write_clip."""
    return 16 + 3 * index % 216


def cut(path: Path, fraction: float) -> Path:
    """The file without its end."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def spoil(path: Path, start: float, end: float) -> Path:
    """The file with zeros between these fractions of its length."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * start), int(len(data) * end)
    data[first:last] = bytes(last - first)
    path.write_bytes(bytes(data))
    return path


def pdf_of(objects: list[bytes]) -> bytes:
    """Of these objects, numbered from 1; the first is its catalog."""
    data = b"%PDF-1.7\n"
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return data + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, start)


def write_pdf_of(
    path: Path, contents: Sequence[bytes], *, size_pt: tuple[int, int] = (200, 200), extra: bytes = b""
) -> Path:
    """A PDF with one page per content stream. A content that starts with b"<<" is a whole stream object."""
    kids = b" ".join(b"%d 0 R" % (3 + 2 * index) for index in range(len(contents)))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(contents))]
    for index, content in enumerate(contents):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R %s >>"
            % (*size_pt, 4 + 2 * index, extra)
        )
        stream = (
            content
            if content.startswith(b"<<")
            else b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content)
        )
        objects.append(stream)
    path.write_bytes(pdf_of(objects))
    return path


def endless_page() -> bytes:
    """A content stream of a few kilobytes that fills the page 200,000 times: minutes of CPU."""
    return _flate(b"0 0 200 200 re f\n" * 200_000)


def huge_page(gigabytes: float = 1.0) -> bytes:
    """A content stream of a few hundred kilobytes that inflates to that size."""
    squeeze = zlib.compressobj(1)
    blank = b" " * (1 << 20)
    data = b"".join(squeeze.compress(blank) for _ in range(int(gigabytes * 1024))) + squeeze.flush()
    return b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(data), data)


def _flate(content: bytes) -> bytes:
    data = zlib.compress(content, 9)
    return b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(data), data)


def write_encrypted_pdf(path: Path, password: bytes = b"secret") -> Path:
    """With a user password, by the standard handler of revision 2 (ISO 32000-1, 7.6.3): RC4, 40 bits."""
    pad = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
    file_id, permissions = b"0123456789abcdef", 0xFFFFFFC0
    user = (password + pad)[:32]
    owner_entry = _rc4(hashlib.md5(user).digest()[:5], user)
    key = hashlib.md5(user + owner_entry + permissions.to_bytes(4, "little") + file_id).digest()[:5]
    user_entry = _rc4(key, pad)
    plain = pdf_bytes(((Line("secret page"),),))
    body, _, _ = plain.partition(b"xref\n")
    count = body.count(b" 0 obj")
    encrypt = b"%d 0 obj\n<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P %d >>\nendobj\n" % (
        count + 1, owner_entry.hex().encode(), user_entry.hex().encode(), permissions - (1 << 32),
    )  # fmt: skip
    data = body + encrypt
    places = [data.index(b"\n%d 0 obj" % number) + 1 for number in range(1, count + 2)]
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (count + 2)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer\n<< /Size %d /Root 1 0 R /Encrypt %d 0 R /ID [<%s> <%s>] >>\nstartxref\n%d\n%%%%EOF\n" % (
        count + 2, count + 1, file_id.hex().encode(), file_id.hex().encode(), start,
    )  # fmt: skip
    path.write_bytes(data)
    return path


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)
