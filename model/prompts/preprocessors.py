"""What a checkpoint says of preparing pictures and clips, read where transformers reads it: processor_config.json of
version 5 before the files of version 4, and for clips that have no file the pictures'. Imports nothing heavy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.prompts.pixels import MERGE, PATCH, TEMPORAL, PixelBudget
from schemas.errors import SpecError
from schemas.json_file import read_object

_BICUBIC = 3
_HALF = (0.5, [0.5, 0.5, 0.5])
_ALIKE: dict[str, tuple[Any, ...]] = {
    # by key, the values that are as pictures are prepared here; None: as the classes have it
    "do_resize": (True, None),
    "resample": (_BICUBIC, "bicubic", None),
    "patch_size": (PATCH,),
    "temporal_patch_size": (TEMPORAL, None),
    "merge_size": (MERGE, None),
    "cap_pixels_per_frame": (False, None),
}
_NORMALIZED: dict[str, tuple[Any, ...]] = {
    # the same for the embedded engine; vLLM goes by the file
    "do_rescale": (True, None),
    "rescale_factor": (1 / 255, None),
    "do_normalize": (True, None),
    "image_mean": _HALF,
    "image_std": _HALF,
}


@dataclass(frozen=True)
class _Processor:
    """settings: empty where there is no file. size: the class's own bounds, as areas in pixels."""

    path: Path
    settings: dict[str, Any]
    size: dict[str, int]

    def check(self, alike: dict[str, tuple[Any, ...]], taker: str) -> None:
        if not self.settings:
            return
        for key, values in alike.items():
            value = self.settings.get(key)
            if not any(_equal(value, one) for one in values):
                wanted = " or ".join(f"{one}" for one in values if one is not None)
                says = f"is {f'{value!r}'[:60]}" if key in self.settings else "is missing"
                raise SpecError(f"{self.path}: {key} {says}; pictures are prepared here with {wanted}; {taker}")


def pixel_budget(folder: Path) -> PixelBudget:
    """The bounds of pictures and clips; Qwen's where there is no file. Raises SpecError for a file that cannot be read,
    or asks for pictures that are prepared in another way."""
    images, videos = _processors(folder)
    for processor in (images, videos):
        processor.check(_ALIKE, "a server that does it so is asked by engine: {kind: openai}")
    bounds: dict[str, int] = {}
    if images.settings:
        # older files name the bounds min_pixels and max_pixels; where both are there, transformers takes these
        edges = {"shortest_edge": "min_pixels", "longest_edge": "max_pixels"}
        named = {edge: images.settings[key] for edge, key in edges.items() if images.settings.get(key) is not None}
        bounds["image_min_px"], bounds["image_max_px"] = _bounds(images, named)
    if videos.settings:
        bounds["video_min_px"], bounds["video_max_px"] = _bounds(videos, {})
    return PixelBudget(**bounds)


def check_pixels(folder: Path) -> None:
    """Raises SpecError where pixels are to be scaled otherwise than the embedded engine does it."""
    for processor in _processors(folder):
        processor.check(_NORMALIZED, "engine: {kind: vllm} takes it")


def _processors(folder: Path) -> tuple[_Processor, _Processor]:
    both = folder / "processor_config.json"
    nested = read_object(both) if both.exists() else {}
    files = [folder / "preprocessor_config.json", folder / "video_preprocessor_config.json"]
    there = {file: read_object(file) for file in files if file.exists()}
    processors = []
    for key, order, size in (
        ("image_processor", files[:1], {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}),
        ("video_processor", files[::-1], {"shortest_edge": 128 * 32 * 32, "longest_edge": 32 * 32 * 768}),
    ):
        file = next((file for file in order if file in there), None)
        if nested.get(key) is not None:
            processors.append(_Processor(both, _object(both, key, nested[key]), size))
        elif file is not None:
            processors.append(_Processor(file, there[file], size))
        else:
            processors.append(_Processor(folder, {}, size))
    images, videos = processors
    # classes differ in what they take for granted: the pictures' has the means of another model
    for key in ("image_mean", "image_std"):
        if videos.settings and videos.path.name != "preprocessor_config.json":
            videos.settings.setdefault(key, 0.5)
    return images, videos


def _bounds(processor: _Processor, named: dict[str, Any]) -> tuple[int, int]:
    size = processor.settings.get("size")
    edges = {**(processor.size if size is None else _object(processor.path, "size", size)), **named}
    for edge in ("shortest_edge", "longest_edge"):
        value = edges.get(edge)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 40:
            raise SpecError(f"{processor.path}: {edge} of size is {f'{value!r}'[:60]}, not an area in pixels")
    return edges["shortest_edge"], edges["longest_edge"]


def _object(path: Path, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(f"{path}: {key} is {f'{value!r}'[:60]}, not an object")
    return value


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, float) and isinstance(wanted, float):
        return math.isclose(value, wanted, rel_tol=1e-6)
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)
