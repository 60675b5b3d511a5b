"""A server as an engine, before it is asked anything (model/engines/openai_engine.py)."""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from model.engines.engine import Engine
from model.engines.kinds import Demand, EngineKind, EngineSettings, FreeMemory
from schemas.engines.openai import Spec
from schemas.errors import EngineLost, SpecError
from schemas.finding import Finding

_PATIENCE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Settings(EngineSettings):
    """As the arguments of OpenAIEngine."""

    kind: ClassVar[str] = "openai"

    url: str
    model: str
    api_key_env: str | None = None
    clips: Literal["video", "images"] = "video"
    silence_s: float = 300.0

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.api_key_env,) if self.api_key_env else ()

    def build(self) -> Engine:
        from model.engines.openai_engine import OpenAIEngine

        return OpenAIEngine(**asdict(self))


class Kind(EngineKind[Spec]):
    @property
    def model(self) -> str:
        return self.spec.model

    @property
    def checkpoint(self) -> Path | None:
        """A server's model may be a folder here too: vLLM names it by its path."""
        folder = Path(self.spec.model)
        return folder if (folder / "config.json").is_file() else None

    def identity(self) -> dict[str, Any]:
        return {"kind": self.spec.kind, "dtype": "auto", "model": self.spec.model, "clips": self.spec.clips}

    def settings(self, context: int, demand: Demand) -> Settings:
        return Settings(
            url=self.spec.url,
            model=self.spec.model,
            api_key_env=self.spec.api_key_env,
            slots=self.spec.concurrency,
            clips=self.spec.clips,
            silence_s=self.spec.stall_s,
        )

    def findings(self, free: FreeMemory) -> tuple[bool, list[Finding]]:
        return True, [self._endpoint()]

    def _endpoint(self) -> Finding:
        from model.engines.openai_engine import OpenAIEngine, Served

        url, model = self.spec.url, self.spec.model

        async def look() -> Served:
            server = OpenAIEngine(url, model, api_key_env=self.spec.api_key_env, silence_s=_PATIENCE_S)
            try:
                return await server.served()
            finally:
                await server.close()

        try:
            served = asyncio.run(look())
        except SpecError as error:
            return Finding("fail", "endpoint", str(error), "export it in this shell; on a cluster, where Ray starts")
        except EngineLost as error:
            return Finding("fail", "endpoint", str(error), "start the server, or fix engine.url and the key")
        message = f"{url} answers" + (f", by {served.owner}" if served.owner else "")
        if served.names is not None and model not in served.names:
            near = difflib.get_close_matches(model, served.names, n=1) or served.names[:3]
            fix = f"engine.model: {', '.join(near)}"
            return Finding("fail", "endpoint", f"{message} and does not list {model}", fix)
        if served.max_tokens and self.spec.max_context and served.max_tokens < self.spec.max_context:
            message += f"; its context of {served.max_tokens} tokens is less than engine.max_context"
            return Finding("note", "endpoint", message, "vLLM: --max-model-len")
        if served.max_tokens:
            message += f", context of {served.max_tokens} tokens"
        return Finding("ok", "endpoint", message)
