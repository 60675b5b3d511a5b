"""Whether the reader behind `decode.video_backend: decord` is there: decord2, not the package decord."""

from __future__ import annotations

import importlib.metadata

import pytest


def is_installed() -> bool:
    try:
        return bool(importlib.metadata.version("decord2"))
    except importlib.metadata.PackageNotFoundError:
        return False


needs_decord2 = pytest.mark.skipif(not is_installed(), reason="decord2 is not installed")
BACKENDS = ["pyav", pytest.param("decord", marks=needs_decord2)]
"""Of `decode.video_backend`."""
