"""An engine alone, all requests at hand before it begins: what a pipeline around it can be measured against.

A child, as the engine of a pipeline is: the same interpreter, the same engine, nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.engines.kinds import EngineSettings, describe
from operators.infer.engine_child import build
from operators.infer.engine_wire import pack_request, unpack_request
from operators.processes.channel import Channel
from operators.processes.child import Limits, spawn
from operators.processes.startup import parent_channel
from schemas.errors import EngineError, SightreadError
from schemas.request import Completion, Request


@dataclass(frozen=True)
class Bare:
    """seconds: from the first request to the last answer. output_tokens: of all answers."""

    seconds: float
    output_tokens: int

    @property
    def rate(self) -> float:
        """Output tokens a second."""
        return self.output_tokens / self.seconds


def measure(engine: EngineSettings, requests: Sequence[Request], *, warm_up: int = 4) -> Bare:
    """Answer some requests uncounted, then all. Raises EngineError when the child ends or one is not answered."""
    child = spawn(
        "jobs.bench.bare_engine",
        limits=Limits(),
        name="the bare engine",
        of_engine=True,
        keys=engine.keys,
        python=engine.python(),
    )
    try:
        child.channel.send({"engine": describe(engine), "requests": len(requests), "warm_up": warm_up})
        for request in requests:
            child.channel.send(*pack_request(request))
        frame = child.channel.recv()
        if frame is None:
            raise EngineError("engine_error", str(child.exit_reason()))
        if "fatal" in frame.head:
            raise EngineError("engine_error", frame.head["fatal"])
        return Bare(**frame.head)
    finally:
        child.kill()


def main() -> None:
    channel = parent_channel()
    order = channel.recv()
    assert order is not None
    frames = [channel.recv() for _ in range(order.head["requests"])]
    requests = [unpack_request(frame.head["ask"], frame.payloads) for frame in frames if frame is not None]
    asyncio.run(_answer(channel, order.head["engine"], requests, order.head["warm_up"]))


async def _answer(channel: Channel, description: dict[str, Any], requests: list[Request], warm_up: int) -> None:
    try:
        engine = build(description)
    except SightreadError as error:
        channel.send({"fatal": str(error)})
        return
    await asyncio.gather(*map(engine.generate, requests[:warm_up]))
    started = time.monotonic()
    answers: list[Completion] = await asyncio.gather(*map(engine.generate, requests))
    seconds = time.monotonic() - started
    channel.send({"seconds": seconds, "output_tokens": sum(answer.output_tokens for answer in answers)})


if __name__ == "__main__":
    main()
