"""The embedded engine: continuous batching over our own network. Knows nothing of tasks, Ray or files besides
the checkpoint.

One thread owns the network and steps it: prompts are prefilled in bounded steps as slots come free, and after each of
these, all that have begun to write decode together, one token a step. Rendering, tokenizing and patching happen on
other threads before.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from model.engines.constraint import Constraint, Grammars
from model.engines.decode_step import Choice
from model.engines.encoder_cache import EncoderCache, VisualCursor
from model.engines.engine import DEFAULT_CONTEXT
from model.engines.runner import Runner, Sequence
from model.engines.scheduler import Chunk, ScheduledSequence, Scheduler
from model.prompts.chat import Chat
from schemas.errors import ChildDied, EngineError
from schemas.request import Completion, FinishReason, Request

CACHE_SHARE = 0.5
"""Of the memory that is free after loading, for the keys and values of all engines that share it."""

PREFILL_TOKENS = 4096
"""Of one prefill step."""

MOST_PREPARERS = 8
"""Opening a page of 1,400 tokens takes 20 ms of a core, and a GPU reads it in 60."""


@dataclass(eq=False)
class ActiveRequest:
    """One request on its way through the engine."""

    request: Request
    sequence: Sequence
    constraint: Constraint | None
    max_new: int
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[FinishReason]
    logprob: float = 0.0
    aborted: bool = False

    def resolve(self, reason: FinishReason) -> None:
        self._call(lambda: self.done.set_result(reason))

    def fail(self, error: EngineError | ChildDied) -> None:
        self._call(lambda: self.done.set_exception(error))

    def _call(self, act: Callable[[], None]) -> None:
        def settle() -> None:
            if not self.done.done():
                act()

        self.loop.call_soon_threadsafe(settle)


class TorchEngine:
    """folder: a checkpoint in the Hugging Face layout.

    dtype: float32, bfloat16, or auto (float32 on the CPU, else bfloat16). slots: sequences decoded together.
    max_context: tokens of prompt and answer. prefill_tokens: bound of one prefill step, which bounds activation
    memory. cache_tokens: what the KV cache holds of all of them; default: its part of CACHE_SHARE of the free memory.
    sharers: engines that this memory is for, this one among them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str = "auto",
        device: str = "cpu",
        slots: int = 8,
        max_context: int | None = None,
        prefill_tokens: int = PREFILL_TOKENS,
        cache_tokens: int | None = None,
        sharers: int = 1,
    ) -> None:
        self.slots = slots
        longest = max_context or DEFAULT_CONTEXT
        self._runner = Runner.load(
            folder, dtype=dtype, device=device, slots=slots, longest=longest,
            cache_tokens=cache_tokens or (lambda size: int(CACHE_SHARE * free_bytes(device) / sharers) // size),
        )  # fmt: skip
        self._config = self._runner.network.config
        self.max_context = min(longest, self._config.text.max_positions)
        cache = self._runner.cache
        self._scheduler: Scheduler[ActiveRequest] = Scheduler(slots, prefill_tokens, cache.tokens, cache.block_tokens)
        self._chat = Chat(folder)
        self._grammars: Grammars | None = None  # made for the first request that wants one
        self._grammars_lock = threading.Lock()
        self._encoder_cache = EncoderCache(pinned=device != "cpu")
        self._progress = 0
        self._closed = False
        self._dead: ChildDied | None = None
        self._changed = threading.Condition()
        self._preparers = ThreadPoolExecutor(preparers(device), thread_name_prefix="prepare")
        # in the context of this thread: torch keeps settings by thread, such as how often a function may be compiled
        turn = partial(contextvars.copy_context().run, self._work)
        self._thread = threading.Thread(target=turn, name="torch-engine", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> int:
        return self._progress

    @property
    def runner(self) -> Runner:
        """For a bench of its steps, while nothing is asked."""
        return self._runner

    async def generate(self, request: Request) -> Completion:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        active = await loop.run_in_executor(self._preparers, self._prepare, request, loop)
        prompt_tokens = len(active.sequence.input_ids)
        scheduled = ScheduledSequence(active, prompt_tokens, prompt_tokens + active.max_new)
        with self._changed:
            if self._dead is not None:
                raise self._dead
            if self._closed:  # while this was prepared: the thread that would answer is gone
                raise EngineError("aborted", "the engine was closed")
            self._scheduler.submit(scheduled)
            self._changed.notify()
        try:
            reason = await active.done
        finally:
            active.aborted = True  # cancelled or not, nothing more is wanted of it
        reply = self._chat.decode_reply(active.sequence.input_ids, active.sequence.output_ids, request.sampling.stop)
        return Completion(
            text=reply.text,
            finish_reason=reason,
            prompt_tokens=prompt_tokens,
            output_tokens=len(active.sequence.output_ids),
            infer_s=time.monotonic() - started,
            reasoning=reply.reasoning,
            reasoning_tokens=reply.reasoning_tokens,
            logprob=active.logprob,
        )

    async def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._thread.join)
        await loop.run_in_executor(None, self._preparers.shutdown)

    def _prepare(self, request: Request, loop: asyncio.AbstractEventLoop) -> ActiveRequest:
        try:
            sequence = self._sequence(request)
        except ValueError as error:
            raise EngineError("engine_error", f"the request's pictures cannot be read: {error}") from error
        length = len(sequence.input_ids)
        room = min(self.max_context, self._scheduler.cache_tokens)
        if length >= room:
            raise EngineError("too_long", f"the prompt has {length} tokens; the context holds {room}")
        return ActiveRequest(
            request=request,
            sequence=sequence,
            constraint=self._constraint(request, sequence.input_ids),
            max_new=min(request.sampling.max_tokens, room - length),
            loop=loop,
            done=loop.create_future(),
        )

    def _constraint(self, request: Request, input_ids: list[int]) -> Constraint | None:
        if request.schema is None:
            return None
        after = self._chat.think_end_id if self._chat.opens_thinking(input_ids) else None
        with self._grammars_lock:
            if self._grammars is None:
                vocabulary = self._config.text.vocabulary
                self._grammars = Grammars(self._chat.tokenizer_json(), vocabulary, self._chat.stop_ids)
            return self._grammars.constrain(request.schema, after)

    def _sequence(self, request: Request) -> Sequence:
        prompt = self._chat.encode_with(self._encoder_cache.preprocess, request.messages)
        visual_ids = (self._config.image_id, self._config.video_id)
        grids = [grid for _, grid in prompt.visuals]
        places, delta = self._runner.network.positions(prompt.input_ids, grids)
        items = [item for items, _ in prompt.visuals for item in items]
        return Sequence.of(prompt.input_ids, places, delta, VisualCursor(items), visual_ids)

    # everything below runs in the engine's thread

    def _work(self) -> None:
        try:
            with torch.inference_mode():
                while self._turn():
                    self._progress += 1
        except BaseException as error:
            # a fault of ours, outside of any one request: nobody may wait for this thread for ever
            with self._changed:
                self._dead = ChildDied("crashed", f"the engine's thread ended ({type(error).__name__}: {error})"[:500])
                for scheduled in self._everything():
                    scheduled.key.fail(self._dead)
            raise

    def _turn(self) -> bool:
        """One prefill and one step, as soon as there is something to do. False once the engine is closed."""
        with self._changed:
            while not (self._everything() or self._closed):
                self._changed.wait()
            if self._closed:
                for scheduled in self._everything():
                    scheduled.key.fail(EngineError("aborted", "the engine was closed"))
                return False
            for scheduled in self._everything():
                if scheduled.key.aborted:
                    self._end(scheduled)
            chunks = self._move()
        if chunks:
            self._prefill(chunks)
        if decoding := self._scheduler.decoding():
            self._decode(decoding)
        return True

    def _move(self) -> list[Chunk[ActiveRequest]]:
        """Whose keys go to the host or come back, and what is prefilled."""
        for scheduled in self._scheduler.next_parked():
            self._runner.park(scheduled.key.sequence)
        for scheduled in self._scheduler.next_restored():
            self._runner.restore(scheduled.key.sequence)
        return self._scheduler.next_prefill()

    def _everything(self) -> list[ScheduledSequence[ActiveRequest]]:
        return [*self._scheduler.waiting, *self._scheduler.running]

    def _prefill(self, chunks: list[Chunk[ActiveRequest]]) -> None:
        try:
            logits = self._runner.prefill([(chunk.sequence.key.sequence, chunk.start, chunk.count) for chunk in chunks])
        except Exception as error:  # noqa: BLE001  the requests' boundary
            batch = [chunk.sequence for chunk in chunks]
            if _is_out_of_memory(error) and len(batch) > 1:
                for scheduled in batch:
                    self._prefill_alone(scheduled)
            else:
                self._fail(batch, error)
            return
        done = [index for index, chunk in enumerate(chunks) if chunk.is_last]
        if done:
            self._begin([chunks[index].sequence for index in done], logits[done])

    def _begin(self, batch: list[ScheduledSequence[ActiveRequest]], logits: Tensor) -> None:
        """Their prompts are done."""
        try:
            for active in (scheduled.key for scheduled in batch):
                assert active.sequence.slot is not None
                self._runner.sampler.take(
                    active.sequence.slot, active.request.sampling, active.sequence.input_ids, active.constraint
                )
            choices = self._runner.begin([scheduled.key.sequence for scheduled in batch], logits)
        except Exception as error:  # noqa: BLE001  the requests' boundary
            self._fail(batch, error)
            return
        self._accept(batch, choices)

    def _prefill_alone(self, scheduled: ScheduledSequence[ActiveRequest]) -> None:
        """From the start, after a step that it shared ran out of memory: only who is too large himself fails."""
        self._runner.release(scheduled.key.sequence)
        scheduled.key.sequence, scheduled.prefilled = self._sequence(scheduled.key.request), 0
        while scheduled.prefilled < scheduled.prompt_tokens and scheduled in self._scheduler.running:
            count = min(self._scheduler.step_tokens, scheduled.prompt_tokens - scheduled.prefilled)
            scheduled.prefilled += count
            self._prefill([Chunk(scheduled, scheduled.prefilled - count, count)])

    def _decode(self, batch: list[ScheduledSequence[ActiveRequest]]) -> None:
        try:
            choices = self._runner.decode([scheduled.key.sequence for scheduled in batch])
        except Exception as error:  # noqa: BLE001  the requests' boundary
            self._fail(batch, error)
            return
        self._accept(batch, choices)

    def _fail(self, batch: list[ScheduledSequence[ActiveRequest]], error: Exception) -> None:
        """A step that fails costs the sequences in it, not the engine."""
        kind = "out_of_memory" if _is_out_of_memory(error) else "engine_error"
        for scheduled in batch:
            self._end(scheduled)
            scheduled.key.fail(EngineError(kind, f"{type(error).__name__}: {error}"[:500]))

    def _accept(self, batch: list[ScheduledSequence[ActiveRequest]], choices: list[Choice]) -> None:
        """A token for each; those that are done end."""
        for scheduled, choice in zip(batch, choices, strict=True):
            active = scheduled.key
            try:
                assert active.sequence.slot is not None
                self._runner.sampler.accept(active.sequence.slot, choice.token_id, choice.logprob)
            except EngineError as error:
                self._end(scheduled)
                active.fail(error)
                continue
            scheduled.generated += 1
            active.logprob += choice.logprob
            active.sequence.output_ids.append(choice.token_id)
            if choice.token_id in self._chat.stop_ids or self._stopped(active):
                reason: FinishReason = "stop"
            elif len(active.sequence.output_ids) >= active.max_new:
                reason = "length"
            else:
                continue
            self._end(scheduled)
            active.resolve(reason)

    def _end(self, scheduled: ScheduledSequence[ActiveRequest]) -> None:
        self._scheduler.end(scheduled)
        self._runner.release(scheduled.key.sequence)

    def _stopped(self, active: ActiveRequest) -> bool:
        """Whether a stop string is complete. Looks at the last tokens only: a character has at most 4 bytes,
        a token at least one."""
        stops = active.request.sampling.stop
        if not stops:
            return False
        tail = self._chat.decode(active.sequence.output_ids[-(4 * max(map(len, stops)) + 4) :])
        return any(stop in tail for stop in stops)


def preparers(device: str) -> int:
    """Threads that render, tokenize and open pictures while a step runs. A step on a GPU needs one core, of which there
    are others; on a CPU it needs them all."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 if device == "cpu" else max(2, min(MOST_PREPARERS, cores - 2))


def free_bytes(device: str, root: Path = Path("/")) -> int:
    """On a CPU what the kernel says is to be had, and what the limit of the container leaves; files that are only
    cached (the mapped weights are such) do not count as used. root: where /proc and /sys lie."""
    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = root / "proc/meminfo"
    if not meminfo.exists():  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    free = 1024 * int(meminfo.read_text(encoding="ascii").split("MemAvailable:")[1].split()[0])
    group = root / "sys/fs/cgroup"
    most = (group / "memory.max").read_text(encoding="ascii").strip() if (group / "memory.max").exists() else "max"
    if most != "max":
        used = int((group / "memory.current").read_text(encoding="ascii"))
        cached = int((group / "memory.stat").read_text(encoding="ascii").split("inactive_file ")[1].split()[0])
        free = min(free, max(0, int(most) - used + cached))
    return free


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
