"""Keys of the embedded engine (model/engines/torch_engine.py)."""

from __future__ import annotations

from typing import Literal

from schemas.engine_spec import CheckpointSpec


class Spec(CheckpointSpec):
    """The embedded engine."""

    kind: Literal["torch"] = "torch"
