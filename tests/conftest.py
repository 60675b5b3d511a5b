"""The fixtures that several files of tests share. Loads nothing heavy: most tests need no world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    from tests.support.world import opened

    with opened(tmp_path) as world:
        yield world
