"""The embedded engine: continuous batching over our own network. Knows nothing of tasks, Ray or files besides
the checkpoint.

One thread owns the network and steps it: new prompts are prefilled as rows come free, all rows in use decode
together, one token a step. Rendering, tokenising and patching happen on other threads before.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from model.chat import Chat, Prompt
from model.checkpoint import load
from model.engine import DEFAULT_CONTEXT
from model.kv_cache import RowCache
from model.positions import positions
from model.sampler import TokenChooser, choose_tokens
from model.scheduler import choose_prefill
from schemas.ask import Completion, FinishReason, Request
from schemas.errors import EngineError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(eq=False)
class Sequence:
    """One request on its way through the engine."""

    request: Request
    prompt: Prompt
    chooser: TokenChooser
    max_new: int
    places: Tensor  # [3, S]
    delta: int
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[tuple[list[int], FinishReason]]
    output_ids: list[int] = field(default_factory=list)
    aborted: bool = False

    def resolve(self, reason: FinishReason) -> None:
        self._call(lambda: self.done.set_result((self.output_ids, reason)))

    def fail(self, error: EngineError) -> None:
        self._call(lambda: self.done.set_exception(error))

    def _call(self, act: object) -> None:
        def settle() -> None:
            if not self.done.done():
                assert callable(act)
                act()

        self.loop.call_soon_threadsafe(settle)


class TorchEngine:
    """folder: a checkpoint in the Hugging Face layout.

    dtype: float32, bfloat16, or auto (float32 on the CPU, else bfloat16). slots: sequences decoded together.
    max_context: tokens of prompt and answer. prefill_tokens: bound of one prefill step, padding included.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str = "auto",
        device: str = "cpu",
        slots: int = 8,
        max_context: int | None = None,
        prefill_tokens: int = 8192,
    ) -> None:
        self.slots = slots
        self._device = device
        self._dtype = _DTYPES["float32" if device == "cpu" else "bfloat16"] if dtype == "auto" else _DTYPES[dtype]
        self._network = load(folder, dtype=self._dtype, device=device)
        self._config = self._network.config
        self.max_context = min(max_context or DEFAULT_CONTEXT, self._config.text.max_positions)
        self._chat = Chat(folder)
        self._prefill_tokens = prefill_tokens
        self._cache = RowCache(self._config.text, slots, dtype=self._dtype, device=device)
        self._rows: list[Sequence] = []
        self._waiting: deque[Sequence] = deque()
        self._progress = 0
        self._closed = False
        self._changed = threading.Condition()
        self._preparers = ThreadPoolExecutor(2, thread_name_prefix="prepare")
        self._thread = threading.Thread(target=self._work, name="torch-engine", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> int:
        return self._progress

    async def generate(self, request: Request) -> Completion:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            sequence = await loop.run_in_executor(self._preparers, self._prepare, request, loop)
        except ValueError as error:
            raise EngineError("engine_error", f"the request's pictures cannot be read: {error}") from error
        with self._changed:
            self._waiting.append(sequence)
            self._changed.notify()
        try:
            output_ids, reason = await sequence.done
        finally:
            sequence.aborted = True  # cancelled or not, nothing more is wanted of it
        return Completion(
            text=self._text(sequence, output_ids),
            finish_reason=reason,
            prompt_tokens=len(sequence.prompt.input_ids),
            output_tokens=len(output_ids),
            infer_s=time.monotonic() - started,
        )

    async def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._preparers.shutdown()

    def _prepare(self, request: Request, loop: asyncio.AbstractEventLoop) -> Sequence:
        prompt = self._chat.encode(request.messages)
        length = len(prompt.input_ids)
        if length >= self.max_context:
            raise EngineError("too_long", f"the prompt has {length} tokens; the context holds {self.max_context}")
        grids = [grid for _, grid in prompt.visuals]
        visual_ids = (self._config.image_id, self._config.video_id)
        places, delta = positions(prompt.input_ids, grids, visual_ids, self._config.vision.merge)
        return Sequence(
            request=request,
            prompt=prompt,
            chooser=TokenChooser(request.sampling, prompt.input_ids),
            max_new=min(request.sampling.max_tokens, self.max_context - length),
            places=places,
            delta=delta,
            loop=loop,
            done=loop.create_future(),
        )

    # everything below runs in the engine's thread

    def _work(self) -> None:
        with torch.inference_mode():
            while True:
                with self._changed:
                    while not (self._waiting or self._rows or self._closed):
                        self._changed.wait()
                    if self._closed:
                        for sequence in (*self._waiting, *self._rows):
                            sequence.fail(EngineError("aborted", "the engine was closed"))
                        return
                    batch = self._next_prefill()
                if batch:
                    self._guarded(batch, self._prefill)
                elif self._rows:
                    self._guarded(list(self._rows), self._decode)
                self._progress += 1

    def _next_prefill(self) -> list[Sequence]:
        self._waiting = deque(sequence for sequence in self._waiting if not sequence.aborted)
        lengths = [len(sequence.prompt.input_ids) for sequence in self._waiting]
        places = choose_prefill(lengths, self.slots - len(self._rows), self._prefill_tokens)
        chosen = [self._waiting[place] for place in places]
        for sequence in chosen:
            self._waiting.remove(sequence)
        return chosen

    def _guarded(self, batch: list[Sequence], step: object) -> None:
        """A step that fails costs the sequences in it, not the engine; one alone, where memory was short."""
        assert callable(step)
        rows = list(self._rows)
        try:
            step(batch)
        except Exception as error:  # noqa: BLE001  the requests' boundary
            for sequence in [each for each in self._rows if each not in rows]:
                self._release(sequence)
            # a prefill may have taken rows of the cache before it failed
            while len(self._cache.lengths) > len(self._rows):
                self._cache.release(len(self._cache.lengths) - 1)
            short = _is_out_of_memory(error)
            if short and len(batch) > 1 and step == self._prefill:
                for sequence in batch:
                    self._guarded([sequence], self._prefill)
                return
            kind = "out_of_memory" if short else "engine_error"
            for sequence in batch:
                if sequence in self._rows:
                    self._release(sequence)
                sequence.fail(EngineError(kind, f"{type(error).__name__}: {error}"[:500]))

    def _prefill(self, batch: list[Sequence]) -> None:
        lengths = [len(sequence.prompt.input_ids) for sequence in batch]
        ids = torch.zeros(len(batch), max(lengths), dtype=torch.long)
        places = torch.zeros(3, len(batch), max(lengths), dtype=torch.long)
        for row, sequence in enumerate(batch):
            ids[row, : lengths[row]] = torch.tensor(sequence.prompt.input_ids)
            places[:, row, : lengths[row]] = sequence.places
        visuals = [visual for sequence in batch for visual in sequence.prompt.visuals]
        visual = None
        if visuals:
            patches = torch.cat([patches for patches, _ in visuals]).to(self._device, self._dtype)
            visual = self._network.vision(patches, torch.tensor([grid for _, grid in visuals]))
        self._cache.begin_prefill(lengths)
        hidden = self._network(ids.to(self._device), places.to(self._device), visual, cache=self._cache)
        last = hidden[torch.arange(len(batch)), torch.tensor(lengths) - 1]
        self._rows += batch
        for sequence in batch:  # the patches are not needed again
            sequence.prompt = Prompt(sequence.prompt.input_ids, [])
        self._take(batch, self._network.logits(last))

    def _decode(self, _: list[Sequence]) -> None:
        for sequence in [each for each in self._rows if each.aborted]:
            self._release(sequence)
        rows = list(self._rows)
        if not rows:
            return
        ids = torch.tensor([[sequence.output_ids[-1]] for sequence in rows], device=self._device)
        places = torch.tensor(
            [length + sequence.delta for length, sequence in zip(self._cache.lengths, rows, strict=True)],
            device=self._device,
        )
        self._cache.begin_decode()
        mask = self._cache.decode_mask()
        hidden = self._network(ids, places.expand(3, -1)[..., None], None, mask, self._cache)
        self._take(rows, self._network.logits(hidden[:, 0]))

    def _take(self, sequences: list[Sequence], logits: Tensor) -> None:
        """Choose a token for each and end those that are done."""
        tokens = choose_tokens(logits, [sequence.chooser for sequence in sequences])
        for sequence, token in zip(sequences, tokens, strict=True):
            sequence.output_ids.append(token)
            if token in self._chat.stop_ids or self._stopped(sequence):
                reason: FinishReason = "stop"
            elif len(sequence.output_ids) >= sequence.max_new:
                reason = "length"
            else:
                continue
            self._release(sequence)
            sequence.resolve(reason)

    def _release(self, sequence: Sequence) -> None:
        row = self._rows.index(sequence)
        self._cache.release(row)
        # the cache moves its last row here; so do we
        self._rows[row] = self._rows[-1]
        self._rows.pop()

    def _stopped(self, sequence: Sequence) -> bool:
        """Whether a stop string is complete. Looks at the last tokens only: a character has at most 4 bytes,
        a token at least one."""
        stops = sequence.request.sampling.stop
        if not stops:
            return False
        tail = self._chat.decode(sequence.output_ids[-(4 * max(map(len, stops)) + 4) :])
        return any(stop in tail for stop in stops)

    def _text(self, sequence: Sequence, output_ids: list[int]) -> str:
        ids = output_ids[:-1] if output_ids and output_ids[-1] in self._chat.stop_ids else output_ids
        text = self._chat.decode(ids)
        cuts = [place for stop in sequence.request.sampling.stop if (place := text.find(stop)) >= 0]
        return text[: min(cuts)] if cuts else text


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
