"""Keys of the fake engine that ships (model/engines/scripted_engine.py)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.engine_spec import EngineSpec


class Spec(EngineSpec):
    """A fake that answers from a recording."""

    kind: Literal["scripted"] = "scripted"
    recording: Annotated[str, Field(min_length=1)] = Field(
        description="a JSONL file of recorded replies, or its address"
    )
