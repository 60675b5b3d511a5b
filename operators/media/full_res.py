"""At which size a picture is kept for crops, beside the one that the model sees."""

from __future__ import annotations

from schemas.decode import DecodeSettings

FULL_RES_PX = 16_777_216
"""Area up to which pictures are kept: the largest that the model itself would take."""
_WORTH = 1.2


def full_res_size(
    width_px: int, height_px: int, seen: tuple[int, int], settings: DecodeSettings
) -> tuple[int, int] | None:
    """(width, height) for a picture of that size, seen at `seen`; None where nobody asks or little is to be gained."""
    if not settings.full_res_max_px:
        return None
    shrink = min(1.0, (settings.full_res_max_px / (width_px * height_px)) ** 0.5)
    width, height = (max(1, int(side * shrink)) for side in (width_px, height_px))
    return (width, height) if width * height > _WORTH * seen[0] * seen[1] else None


def full_res_bytes(width_px: int, height_px: int, seen: tuple[int, int], settings: DecodeSettings) -> int:
    """What it weighs, uncompressed."""
    size = full_res_size(width_px, height_px, seen, settings)
    return size[0] * size[1] * 3 if size else 0
