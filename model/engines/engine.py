"""The seam between the pipeline and whatever runs the model. Knows nothing of tasks, Ray or Parquet."""

from __future__ import annotations

from typing import Protocol

from schemas.request import Completion, Request

DEFAULT_CONTEXT = 32_768
"""Tokens of prompt and answer, unless the spec or the model says otherwise."""


class Engine(Protocol):
    """Runs in a process of its own, on one asyncio loop; any number of `generate` calls are under way.

    Implementations: model/engines/torch_engine.py (ours), model/engines/vllm_engine.py (vLLM),
    model/engines/openai_engine.py (any server that speaks OpenAI's API), model/engines/scripted_engine.py (the fake
    that the project ships).
    """

    @property
    def slots(self) -> int:
        """How many requests it works on at once; more may be submitted and wait their turn."""

    @property
    def progress(self) -> int:
        """A count that grows whenever work gets done (a step, a prefill, an answer). A supervisor that sees
        it stand still while requests are in flight takes the engine for hung."""

    async def generate(self, request: Request) -> Completion:
        """Answer one request, exactly once. Cancelling the call aborts it and frees its slot.

        Raises schemas.errors.ChildDied when the engine has lost a process that it cannot go on without: nothing that
        is under way will be answered, and the engine's own process is to end.
        Raises schemas.errors.EngineError(kind) when this one request cannot be answered: too_long (prompt and
        max_tokens do not fit the context), out_of_memory, engine_error. Other requests are not disturbed.
        Raises schemas.errors.EngineLost when none will ever be answered.
        Deadlines are the caller's business (asyncio.timeout around this call).
        """

    async def close(self) -> None:
        """Stop working; requests still under way are cancelled."""
