"""How inputs become units: the settings of the decoders and the kinds of things. Knows nothing of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Media: TypeAlias = Literal["document", "image", "video"]
UnitKind: TypeAlias = Literal["page", "image", "clip"]

UNIT_KIND_OF: dict[Media, UnitKind] = {"document": "page", "image": "image", "video": "clip"}

EXTENSIONS: dict[str, Media] = {
    ".pdf": "document",
    **dict.fromkeys(
        (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".tif", ".tiff", ".webp", ".bmp", ".ppm", ".jp2"), "image"
    ),
    **dict.fromkeys(
        (
            ".mp4",
            ".m4v",
            ".mov",
            ".mkv",
            ".webm",
            ".avi",
            ".ts",
            ".m2ts",
            ".mpg",
            ".mpeg",
            ".flv",
            ".wmv",
            ".3gp",
        ),
        "video",
    ),
}


@dataclass(frozen=True)
class DecodeSettings:
    """Everything that a decoder child is told besides the file. Plain numbers, so that it crosses as JSON.

    Pixel bounds are areas (facts of the checkpoint's preprocessor json): of one picture for images and pages,
    of all sampled frames together for a clip (T*H*W before temporal merging).
    """

    video_fps: float = 2.0
    video_clip_s: float = 30.0
    video_backend: Literal["pyav", "decord"] = "pyav"
    page_dpi: float = 144.0
    image_min_px: int = 65_536
    image_max_px: int = 16_777_216
    video_min_px: int = 4_096
    video_max_px: int = 25_165_824
    token_side_px: int = 32
    max_source_px: int = 179_000_000
    """Pictures larger than this are refused (decompression bombs); pages are rendered under this cap."""
    timeout_s: float = 60.0
    """Seconds that a decoder may take for one unit, or for the probe of one input."""
    memory_mb: int = 2048
    """Address space of a decoder child."""
