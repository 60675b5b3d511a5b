"""An engine alone, all requests at hand before it begins: what a pipeline around it can be measured against.

A child, as the engine of a pipeline is: the same interpreter, the same engine, nothing else.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from model.engines.kinds import EngineSettings, describe
from operators.infer.engine_child import build
from operators.infer.engine_wire import pack_request, unpack_request
from operators.processes.channel import Channel
from operators.processes.child import Limits, spawn
from operators.processes.messages import INT64, Bounds, Messages, integer, number, record, text
from operators.processes.startup import parent_channel
from schemas.errors import ChildDied, EngineError, SightreadError
from schemas.request import Completion, Request

_LOAD_S = 3600.0
_MEASURED = Messages(
    Bounds(frame_s=None),
    {
        "fatal": record({"fatal": text()}),
        "seconds": record({"seconds": number(0), "output_tokens": integer(0, INT64)}),
    },
)


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
    printed = partial(os.write, 2)
    child = spawn(
        "jobs.bench.bare_engine",
        limits=Limits(),
        name="the bare engine",
        printed=printed,
        of_engine=True,
        keys=engine.keys,
        python=engine.python(),
    )
    try:
        deadline = time.monotonic() + _LOAD_S
        child.send({"engine": describe(engine), "requests": len(requests), "warm_up": warm_up}, deadline=deadline)
        for request in requests:
            child.send(*pack_request(request), deadline=deadline)
        head = child.receive(_MEASURED).head
        if "fatal" in head:
            raise EngineError("engine_error", head["fatal"])
        return Bare(**head)
    except ChildDied as death:
        raise EngineError("engine_error", str(death)) from death
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
