"""What the numbers of a frame mean: the matrix of one that does not tell, alpha, and light beyond what a model sees.

A frame without a matrix is BT.709 from 1280 columns or 720 rows on, and BT.601 below, as players have it.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc
from PIL import Image

from model.prompts.rgb import RGB

HD_WIDTH_PX, HD_HEIGHT_PX = 1280, 720
_YCGCO, _BT2020_CL = 8, 10  # of AVColorSpace
_GUESSED = (2, 3, _BT2020_CL, 12, 13)
"""Of AVColorSpace: unspecified, reserved, and what FFmpeg's scaler refuses."""

UNUSED_ALPHA = ("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "zmbv")
"""Codecs of screen recordings, which keep the fourth byte of pixels of 32 bits, whatever it is; AVI has it too."""

_MOST_ALPHA_PX = 1 << 24
"""Up to which hidden colors are covered before a frame is scaled, so that nothing of them gets in."""

SDR_WHITE_NITS = 203.0
"""Light of white paper in HDR (ITU-R BT.2408), and the brightest that is left."""
USUAL_PEAK_NITS = 1000.0
"""Of the display that a video was graded on and does not name; of the one that HLG is made for."""
_MOST_NITS = 10_000.0
_LEVELS = 4096

_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
"""Linear RGB of BT.2020 as that of BT.709: ITU-R BT.2087."""
_HLG_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
Floats = npt.NDArray[np.float32]


def matrix_of(frame: Any) -> Colorspace | None:
    """To be taken for the frame's own; None where that is known, or the frame is no YUV. Of constant luminance, and
    derived from the primaries, are near enough to those that FFmpeg's scaler knows."""
    if frame.colorspace not in _GUESSED or frame.format.is_rgb or frame.format.name == "pal8":
        return None
    if is_hdr(frame) or frame.colorspace == _BT2020_CL or frame.color_primaries == ColorPrimaries.BT2020:
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.width >= HD_WIDTH_PX or frame.height >= HD_HEIGHT_PX else None


def is_ycgco(frame: Any) -> bool:
    return bool(frame.colorspace == _YCGCO)


def ycgco_to_rgb(pixels: npt.NDArray[np.uint8], *, limited: bool) -> RGB:
    """pixels: [height, width, 3] of Y, Cg and Co, of 8 bits: ITU-T H.273, matrix coefficients 8."""
    low, luma, chroma = (16, 219, 224) if limited else (0, 255, 255)
    values = pixels.astype(np.float32) - (low, 128, 128)
    y, green, orange = np.moveaxis(values * (255 / luma, 255 / chroma, 255 / chroma), -1, 0)
    rgb = np.stack([y - green + orange, y + green, y - green - orange], axis=-1)
    levels: RGB = np.rint(np.clip(rgb, 0, 255)).astype(np.uint8)
    return levels


@cache
def has_alpha(pixel_format: str) -> bool:
    """Palettes may have it too."""
    return pixel_format == "pal8" or any(part.is_alpha for part in VideoFormat(pixel_format).components)


def on_white(frame: Any, *, unused: bool) -> Any:
    """The frame over white, as pictures of files are; itself where it hides nothing. unused: alpha that is zero
    everywhere stands for the fourth byte of pixels of 32 bits, and hides nothing."""
    shrink = min(1.0, (_MOST_ALPHA_PX / (frame.width * frame.height)) ** 0.5)
    width, height = max(1, int(frame.width * shrink)), max(1, int(frame.height * shrink))
    form: dict[str, Any] = {"width": width, "height": height, "interpolation": "BICUBIC", "threads": 1}
    rgba = Image.fromarray(frame.to_ndarray(format="rgba", src_colorspace=matrix_of(frame), **form))
    alpha = rgba.getchannel("A")
    darkest, brightest = alpha.getextrema()
    if darkest == 255 or (unused and brightest == 0):
        rgb = rgba.convert("RGB")
    else:
        rgb = Image.new("RGB", rgba.size, "white")
        rgb.paste(rgba, mask=alpha)
    return VideoFrame.from_ndarray(np.asarray(rgb), format="rgb24")


def is_hdr(frame: Any) -> bool:
    return frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


def tone_mapped(pixels: npt.NDArray[np.uint16], frame: Any) -> RGB:
    """An HDR picture as a model can see it. pixels: [height, width, 3], RGB as it is coded, of the 16 bits all used.

    The light is brought down by the curve of ITU-R BT.2390 (5.4.1), by the brightest of a pixel's colors, so that its
    hue stays; then to the colors of BT.709, and to a display's gamma of 2.2.
    """
    coded = pixels >> 4
    if frame.color_trc == ColorTrc.SMPTE2084:
        nits, peak_nits = _pq_nits()[coded], _graded_nits(frame)
    else:
        scene, peak_nits = _hlg_scene()[coded], USUAL_PEAK_NITS
        luma = np.maximum(scene @ _HLG_LUMA, 1e-6)
        nits = scene * (peak_nits * luma**0.2)[..., None]
    light, gain = _curve(peak_nits)
    nits = nits * np.interp(nits.max(axis=-1), light, gain).astype(np.float32)[..., None]
    if frame.color_primaries in (ColorPrimaries.BT2020, ColorPrimaries.UNSPECIFIED):
        nits = nits @ _TO_BT709.T
    steps = np.sqrt(np.clip(nits / SDR_WHITE_NITS, 0, 1)) * (_LEVELS - 1) + 0.5
    shown: RGB = _display()[steps.astype(np.uint16)]
    return shown


def _graded_nits(frame: Any) -> float:
    """Of the display that the video was graded on, where it says so."""
    data = next((bytes(data) for data in frame.side_data if data.type is Type.MASTERING_DISPLAY_METADATA), b"")
    if len(data) >= 88:  # AVMasteringDisplayMetadata: eight fractions of primaries, darkest, brightest, what is given
        over, under, _, is_stated = struct.unpack_from("=4i", data, 72)
        if is_stated and under > 0 and over / under > SDR_WHITE_NITS:
            return float(min(over / under, _MOST_NITS))
    return USUAL_PEAK_NITS


@cache
def _curve(peak_nits: float) -> tuple[Floats, Floats]:
    """(nits, by what to multiply them)."""
    nits = np.geomspace(0.01, _MOST_NITS, 1024)
    top, aim = _pq_coded(np.array(peak_nits)), _pq_coded(np.array(SDR_WHITE_NITS))
    level, most = np.minimum(_pq_coded(nits) / top, 1), aim / top
    knee = 1.5 * most - 0.5
    along = np.clip((level - knee) / (1 - knee), 0, 1)
    bent = (2 * along**3 - 3 * along**2 + 1) * knee + (along**3 - 2 * along**2 + along) * (1 - knee)
    bent += (-2 * along**3 + 3 * along**2) * most
    shown = _pq_light(np.where(level < knee, level, bent) * top)
    return nits.astype(np.float32), (shown / nits).astype(np.float32)


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
"""SMPTE ST 2084."""


def _pq_coded(nits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    power = (nits / _MOST_NITS) ** _M1
    coded: npt.NDArray[np.float64] = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return coded


def _pq_light(coded: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    power = coded ** (1 / _M2)
    nits: npt.NDArray[np.float64] = (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1) * _MOST_NITS
    return nits


@cache
def _pq_nits() -> Floats:
    return _pq_light(np.linspace(0, 1, _LEVELS)).astype(np.float32)


@cache
def _hlg_scene() -> Floats:
    """Scene light from what is coded: ITU-R BT.2100, the inverse OETF of HLG."""
    coded = np.linspace(0, 1, _LEVELS)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12).astype(np.float32)


@cache
def _display() -> npt.NDArray[np.uint8]:
    """Levels of 8 bits by the square root of light."""
    return np.rint(255 * np.linspace(0, 1, _LEVELS) ** (2 / 2.2)).astype(np.uint8)
