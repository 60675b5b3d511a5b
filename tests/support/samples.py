"""The shared samples, which are no part of the repository: real media, damaged media, recorded replies. A test that
needs them is skipped without them, and says how to name them."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest

VARIABLE = "SIGHTREAD_SHARED"
"""Names the folder of samples/, replies/ and faults/. scripts/test, which CI runs, looks beside the checkout."""


def shared(place: str) -> Path:
    """A file or folder of the shared ones. It need not exist."""
    folder = os.path.abspath(os.environ.get(VARIABLE) or os.devnull)  # noqa: PTH100  as jobs name their inputs
    return Path(folder) / place


SAMPLES = shared("samples")
RECORDED = shared("replies/qwen3_vl_recorded.jsonl")
_REASON = f"{{}}: set {VARIABLE} to the folder of the shared samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=_REASON.format("no real media"))


@cache
def recorded() -> dict[str, str]:
    """What Qwen3-VL itself replied: name -> text. Skips the test where the recording is not there."""
    if not RECORDED.is_file():
        pytest.skip(_REASON.format("no recorded replies"))
    lines = RECORDED.read_text(encoding="utf-8").splitlines()
    return {line["id"]: line["reply"] for line in map(json.loads, lines)}
