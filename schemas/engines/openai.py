"""Keys of an engine that is somebody else's server (model/engines/openai_engine.py)."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from schemas.engine_spec import EngineSpec


class Spec(EngineSpec):
    """Any OpenAI-compatible server."""

    kind: Literal["openai"] = "openai"
    url: Annotated[str, Field(min_length=1)] = Field(description="base address of the server, as http://host:8000/v1")
    model: Annotated[str, Field(min_length=1)] = Field(description="the name of the model that the server serves")
    api_key_env: str | None = Field(
        None, description="the environment variable that holds the key, where the engine runs"
    )
    clips: Literal["video", "images"] = Field(
        "video", description="video: for vLLM, started with --trust-request-mm-kwargs; images: any server"
    )

    @model_validator(mode="after")
    def _safe(self) -> Spec:
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("engine.url: not an address like http://host:8000/v1")
        if address.username or address.password or address.query:
            # the spec is copied into the job's folder
            raise ValueError("engine.url: no password or key belongs there; name its environment variable: api_key_env")
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise ValueError("engine.api_key_env: the name of an environment variable, not the key itself")
        return self
