"""How inputs become units: the settings of the decoders and the kinds of units. Knows no format and no file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from schemas.fetch import FetchSettings

UnitKind: TypeAlias = Literal["page", "image", "clip", "document", "video", "episode", "text"]


@dataclass(frozen=True)
class LineReader:
    """The picture of one line of text that a model reads best, in pixels.

    em_px: size of the type in it; baseline_px: where the letters stand, from the top; stretch: horizontal over
    vertical scale; max_width_px: a longer line is cut between words. The defaults suit a model of ordinary
    resolution that is asked about lines all the same.
    """

    height_px: int = 64
    em_px: float = 38.0
    baseline_px: float = 45.0
    stretch: float = 1.0
    max_width_px: int = 2048
    token_side_px: int = 32


@dataclass(frozen=True)
class DecodeSettings:
    """Everything that a decoder child needs besides the file. Plain numbers, so that it crosses as JSON.

    Pixel bounds are areas (facts of the checkpoint's preprocessor json): of one picture for images and pages,
    of all sampled frames together for a clip (T*H*W before temporal merging).
    """

    video_fps: float = 2.0
    video_clip_s: float = 30.0
    video_backend: Literal["pyav", "decord"] = "pyav"
    video_share: tuple[int, int] = (0, 1)
    """(number, count): of the frames that are wanted of a video, those of one of so many decoders. It fails where they
    would not together show what one alone does."""
    page_dpi: float = 144.0
    image_min_px: int = 65_536
    image_max_px: int = 16_777_216
    video_min_px: int = 4_096
    video_max_px: int = 25_165_824
    token_side_px: int = 32
    max_source_px: int = 179_000_000
    """Pictures larger than this are refused (decompression bombs); pages are rendered under this cap."""
    timeout_s: float = 60.0
    """Seconds that a decoder may work on one unit, or on the probe of one input, without a sign of progress
    (operators/media/progress.py); without a processor it cannot work. With progress it may take ten times as long."""
    memory_mb: int = 2048
    """Address space of a decoder child."""
    full_input_tokens: int = 0
    """Tokens that all pictures of a whole document or video may take together: the engine's context, less answer."""
    line_reader: LineReader | None = None
    """Set: pages and pictures also come as their lines of text, in this form."""
    draw_forms: bool = True
    """Whether what is filled into a document's form is drawn; not for a second try of one that hangs on it."""
    full_res_max_px: int = 0
    """Area up to which a picture also comes at its own size, where that is more than the model sees; 0: never."""
    fetch: FetchSettings = field(default_factory=FetchSettings)
    """How inputs come from elsewhere; the business of who opens them."""

    def __post_init__(self) -> None:
        if isinstance(self.fetch, dict):  # as it comes out of JSON
            object.__setattr__(self, "fetch", FetchSettings(**self.fetch))
        if isinstance(self.video_share, list):  # as it comes out of JSON
            object.__setattr__(self, "video_share", tuple(self.video_share))
        if isinstance(self.line_reader, dict):  # as it comes out of JSON
            object.__setattr__(self, "line_reader", LineReader(**self.line_reader))
