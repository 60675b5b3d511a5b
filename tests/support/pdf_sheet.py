"""A PDF of one page, written out by hand: lines of print in the standard fonts, fonts that name their letters as one
likes, forms, annotations, layers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.media import pdf_of

Names = dict[str, str]
"""What a font says of its codes -> the letters it draws for them."""


def escaped(data: bytes) -> bytes:
    return data.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def text_of(words: str) -> bytes:
    """A string object in any language."""
    return b"<" + b"\xfe\xff".hex().encode() + words.encode("utf-16-be").hex().encode() + b">"


def stream(data: bytes, extra: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), extra, data)


@dataclass
class Sheet:
    """x, y in points from the lower left corner. Objects are numbered from 1; the first four are the catalog, the
    pages, the page and its contents."""

    width: int = 612
    height: int = 792
    page: bytes = b""
    """More keys of the page."""
    catalog: bytes = b""
    contents: bytes = b""
    objects: list[bytes] = field(default_factory=list)
    fonts: dict[str, int] = field(default_factory=dict)
    resources: bytes = b""
    annotations: list[int] = field(default_factory=list)

    def add(self, content: bytes) -> int:
        """The number of the new object."""
        self.objects.append(content)
        return len(self.objects) + 4

    def standard(self, name: str) -> str:
        """A font of the fourteen, with the letters of cp1252."""
        if name not in self.fonts:
            self.fonts[name] = self.add(
                b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>" % name.encode()
            )
        return name

    def mapped(self, name: str, letters: Sequence[tuple[str, str]], base: str = "Helvetica") -> str:
        """A font whose codes from 33 on draw a glyph of a standard font, and say that it is a text: [(glyph, text)]."""
        said = [b"<20> <0020>"]
        said += [
            b"<%02x> <%s>" % (33 + k, to.encode("utf-16-be", "surrogatepass").hex().encode())
            for k, (_, to) in enumerate(letters)
        ]
        rows = [said[start : start + 90] for start in range(0, len(said), 90)]
        cmap = b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def"
        cmap += b" 1 begincodespacerange <00> <ff> endcodespacerange\n"
        cmap += b"".join(b"%d beginbfchar\n%s\nendbfchar\n" % (len(row), b"\n".join(row)) for row in rows)
        unicode = self.add(stream(cmap + b"endcmap end end"))
        glyphs = b" ".join(b"/" + glyph.encode() for glyph, _ in letters)
        self.fonts[name] = self.add(
            b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding << /Type /Encoding /BaseEncoding /WinAnsiEncoding"
            b" /Differences [33 %s] >> /ToUnicode %d 0 R >>" % (base.encode(), glyphs, unicode)
        )
        return name

    def show(
        self,
        data: bytes,
        x: float,
        y: float,
        *,
        size: float = 12,
        font: str = "Helvetica",
        how: bytes = b"",
        turn: bytes = b"1 0 0 1",
    ) -> None:
        """how: operators before it is shown, of color, rendering mode, spacing."""
        name = self.standard(font) if font not in self.fonts else font
        self.contents += b"q BT /%s %g Tf %s %s %g %g Tm (%s) Tj ET Q\n" % (
            name.encode(),
            size,
            how,
            turn,
            x,
            y,
            escaped(data),
        )

    def line(
        self, text: str, x: float, y: float, *, size: float = 12, font: str = "Helvetica", how: bytes = b""
    ) -> None:
        self.show(text.encode("cp1252"), x, y, size=size, font=font, how=how)

    def draw(self, operators: bytes) -> None:
        self.contents += operators + b"\n"

    def annotate(self, content: bytes, box: tuple[float, float, float, float]) -> int:
        number = self.add(b"<< /Type /Annot /Rect [%g %g %g %g] %s >>" % (*box, content))
        self.annotations.append(number)
        return number

    def appearance(self, operators: bytes, width: float, height: float) -> int:
        fonts = b" ".join(b"/%s %d 0 R" % (name.encode(), number) for name, number in self.fonts.items())
        return self.add(
            stream(
                operators,
                b"/Type /XObject /Subtype /Form /BBox [0 0 %g %g] /Resources << /Font << %s >> >>"
                % (width, height, fonts),
            )
        )

    def image(self, width: int, height: int, gray: bytes) -> str:
        """The name of a picture of 8 bits of gray."""
        number = self.add(
            stream(
                zlib.compress(gray),
                b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8"
                b" /Filter /FlateDecode" % (width, height),
            )
        )
        self.resources += b" /XObject << /I%d %d 0 R >>" % (number, number)
        return f"I{number}"

    def pdf(self) -> bytes:
        fonts = b" ".join(b"/%s %d 0 R" % (name.encode(), number) for name, number in self.fonts.items())
        annotations = b" ".join(b"%d 0 R" % number for number in self.annotations)
        boxes = b"" if b"/MediaBox" in self.page else b"/MediaBox [0 0 %d %d]" % (self.width, self.height)
        return pdf_of(
            [
                b"<< /Type /Catalog /Pages 2 0 R %s >>" % self.catalog,
                b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
                b"<< /Type /Page /Parent 2 0 R %s %s /Resources << /Font << %s >> %s >> /Contents 4 0 R /Annots [%s] >>"
                % (boxes, self.page, fonts, self.resources, annotations),
                stream(self.contents),
                *self.objects,
            ]
        )
