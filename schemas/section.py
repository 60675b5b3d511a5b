"""What the sections of a job spec have alike: unknown keys are refused, and nothing changes later. Knows no key."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST = (1 << 31) - 1
"""Of what is counted. What is more is a slip, and an overflow somewhere behind it."""

LABEL = r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
"""The value of a label of a node of Ray."""

PositiveInt = Annotated[int, Field(ge=1, le=MOST)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
