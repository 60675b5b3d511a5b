"""Finds fonts to train and to test with. Knows nothing of pictures.

Training wants many faces, but a bare machine has few: what is installed is used, and Pillow's own font is
always there. Families in `UNSEEN` are never trained on; their relatives are left out with them (Carlito is
drawn after Lato, Charis after Gentium).

    apt-get install fonts-liberation2 fonts-freefont-ttf fonts-dejavu-extra fonts-urw-base35 fonts-noto-core \\
        fonts-roboto-unhinted fonts-open-sans fonts-linuxlibertine fonts-cantarell fonts-hack fonts-inter \\
        fonts-ebgaramond fonts-cmu fonts-texgyre fonts-jetbrains-mono fonts-croscore \\
        fonts-crosextra-carlito fonts-lato fonts-crosextra-caladea fonts-sil-gentium fonts-sil-charis \\
        fonts-oxygen fonts-inconsolata
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("/usr/share/texmf/fonts"))

SEEN: dict[str, float] = {
    "Liberation(Sans|Serif)-": 3.0,
    "Nimbus(Sans|Roman)-": 2.0,
    "Free(Sans|Serif)(Bold|Oblique|Italic|BoldOblique|BoldItalic)?\\.": 1.0,
    "DejaVu(Sans|Serif)(-|\\.)(?!ExtraLight)": 1.5,
    "DejaVu(Sans|Serif)Condensed(-|\\.)": 0.5,
    "Noto(Sans|Serif)-": 1.0,
    "Roboto-(Regular|Bold|Italic|Medium|Light)\\.": 1.0,
    "OpenSans-(Regular|Bold|Italic|Semibold|Light)\\.": 1.0,
    "Inter-(Regular|Bold|Italic|Medium)\\.": 1.0,
    "(C059|P052|URWBookman|URWGothic)-": 0.7,
    "LinLibertine_(R|RB|RI)\\.": 0.7,
    "LinBiolinum_(R|RB)\\.": 0.5,
    "Cantarell-(Regular|Bold)\\.": 0.5,
    "EBGaramond12-(Regular|Italic|Bold)\\.": 0.5,
    "cmun(rm|bx|ti|ss)\\.": 0.7,
    "(LiberationMono|DejaVuSansMono|NimbusMonoPS|FreeMono|Hack|Cousine)-": 0.6,
    "(JetBrainsMono|FiraCode)-(Regular|Bold)\\.": 0.4,
}
"""File names trained on and how often the family is drawn; its files share that weight."""

UNSEEN: dict[str, str] = {
    "Carlito": "(Carlito)-",
    "Lato": "Lato-(Regular|Bold|Italic)\\.",
    "Caladea": "Caladea-",
    "Gentium": "Gentium-(R|I)\\.",
    "Charis": "CharisSIL-",
    "Oxygen": "Oxygen-Sans",
    "Inconsolata": "Inconsolata",
}
"""Families kept for testing: name and the file names that belong to it."""

_FILES = (".ttf", ".otf")


@dataclass(frozen=True)
class Face:
    """One font file; path None is the font inside Pillow."""

    name: str
    path: str | None
    weight: float

    def at(self, size_px: int) -> ImageFont.FreeTypeFont:
        return _load(self.path, size_px)


@functools.lru_cache(maxsize=4096)
def _load(path: str | None, size_px: int) -> ImageFont.FreeTypeFont:
    if path is None:
        font = ImageFont.load_default(size_px)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    # BASIC: widths of prefixes add up, which the ground truth of character positions relies on
    return ImageFont.truetype(path, size_px, layout_engine=ImageFont.Layout.BASIC)


def installed() -> dict[str, Path]:
    """Font files of this machine by file name, each name once."""
    files = (path for folder in FONT_FOLDERS if folder.exists() for path in sorted(folder.rglob("*")))
    by_name: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() in _FILES:
            by_name.setdefault(path.name, path)
    return by_name


def seen_faces() -> list[Face]:
    """The faces to train on; Pillow's own first, then what is installed."""
    files = installed()
    faces = [Face("Aileron", None, 1.5)]
    for pattern, weight in SEEN.items():
        names = sorted(name for name in files if re.match(pattern, name))
        for name in names:
            # upright book weights are what most print is set in
            share = 1.0 if re.search("Regular|Roman|Book|Sans\\.|Serif\\.|_R\\.|cmunrm", name) else 0.5
            faces.append(Face(name.rsplit(".", 1)[0], str(files[name]), weight * share / len(names)))
    return faces


def unseen_faces() -> dict[str, list[Face]]:
    """Test families that are installed, and their faces."""
    files = installed()
    families = {
        family: [
            Face(name.rsplit(".", 1)[0], str(files[name]), 1.0) for name in sorted(files) if re.match(pattern, name)
        ]
        for family, pattern in UNSEEN.items()
    }
    return {family: faces for family, faces in families.items() if faces}


@functools.cache
def missing_glyphs(path: str | None, characters: str) -> frozenset[str]:
    """Which of `characters` this font would draw as its box for unknown ones."""
    font = _load(path, 24)
    unknown = bytes(font.getmask("￿"))
    return frozenset(c for c in characters if not c.isspace() and bytes(font.getmask(c)) == unknown)
