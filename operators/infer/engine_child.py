"""The engine's process: one engine on one asyncio loop, asked and answering over the channel to its supervisor.

Says {"ready"} once the engine is loaded, {"alive": progress} several times a second, {"answer"} for every
request, {"fatal": sentence} when no engine can be built from the description, or it is lost for good, and
{"last_error": reason} before it dies of what may be over when it is started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
from typing import Any

from model.engines.engine import Engine
from model.engines.kinds import settings_from
from operators.infer.engine_wire import pack_answer, unpack_request
from operators.infer.utilization import Busy
from operators.processes import orphan_reaper
from operators.processes.channel import Channel, Frame
from operators.processes.child import EXIT_CHILD_DIED, EXIT_OUT_OF_MEMORY
from operators.processes.startup import parent_channel
from schemas.errors import ChildDied, EngineError, EngineLost, Failure, SightreadError
from schemas.request import Completion, Request

HEARTBEAT_S = 0.25

_log = logging.getLogger(__name__)


def main() -> None:
    channel = parent_channel()
    order = channel.recv()
    if order is None:  # the supervisor has closed before it asked for anything
        return
    try:
        asyncio.run(_serve(channel, order.head["engine"]))
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    except BrokenPipeError:
        os._exit(0)  # the supervisor is gone


def build(description: dict[str, Any]) -> Engine:
    """description: as model.engines.kinds.describe gives it. Raises SpecError."""
    settings = settings_from(description)
    if settings.outlived:
        orphan_reaper.start()
    return settings.build()


async def _serve(channel: Channel, description: dict[str, Any]) -> None:
    try:
        engine = build(description)
    except SightreadError as error:
        channel.send({"fatal": str(error)})
        return
    except Exception as error:
        channel.send({"last_error": f"{type(error).__name__}: {error}"})
        raise
    channel.send({"ready": {"slots": engine.slots}})
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[Frame | None] = asyncio.Queue()
    threading.Thread(target=_listen, args=(channel, loop, orders), daemon=True).start()
    heartbeat = asyncio.create_task(_beat(channel, engine))
    running: dict[str, asyncio.Task[None]] = {}
    in_use = Busy(engine.slots)
    while (frame := await orders.get()) is not None:
        request = unpack_request(frame.head["ask"], frame.payloads)
        task = asyncio.create_task(_answer(channel, engine, request, in_use))
        running[request.request_id] = task
        task.add_done_callback(functools.partial(_forget, running, request.request_id))
    heartbeat.cancel()
    for task in running.values():
        task.cancel()
    await engine.close()


def _forget(running: dict[str, asyncio.Task[None]], request_id: str, _: asyncio.Task[None]) -> None:
    running.pop(request_id, None)


def _listen(channel: Channel, loop: asyncio.AbstractEventLoop, orders: asyncio.Queue[Frame | None]) -> None:
    """Blocking reads on a thread of their own; the loop only ever sees whole frames."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the loop closed first
        frame: Frame | None = Frame({})
        while frame is not None:
            frame = channel.recv()
            loop.call_soon_threadsafe(orders.put_nowait, frame)
        return
    os._exit(0)


async def _beat(channel: Channel, engine: Engine) -> None:
    while True:
        channel.send({"alive": engine.progress})
        await asyncio.sleep(HEARTBEAT_S)


async def _answer(channel: Channel, engine: Engine, request: Request, in_use: Busy) -> None:
    answer: Completion | Failure
    try:
        async with asyncio.timeout(request.deadline_s):
            with in_use:
                answer = await engine.generate(request)
    except TimeoutError:
        answer = Failure("infer", "deadline", f"no answer within {request.deadline_s:g} s")
    except EngineError as error:
        answer = Failure("infer", error.kind, str(error))
    except EngineLost as error:
        channel.send({"fatal": str(error)})
        return
    except ChildDied as error:
        channel.send({"last_error": str(error)})
        os._exit(EXIT_CHILD_DIED)  # nothing that is under way will be answered: the supervisor asks it elsewhere
    except MemoryError:
        answer = Failure("infer", "out_of_memory", "the engine ran out of memory over this request")
    except Exception as error:  # noqa: BLE001  the request's boundary
        _log.exception("request %s", request.request_id)
        answer = Failure("infer", "internal", f"{type(error).__name__}: {error}")
    channel.send(pack_answer(request.request_id, answer, in_use.seconds))


if __name__ == "__main__":
    main()
