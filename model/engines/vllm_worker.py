"""Loaded into vLLM's workers where they run on a CPU, and only there (`worker_extension_cls`): keeps seeds.

A prompt that does not fit a step whole is read in several, and what is sampled after all but the last is thrown away.
vLLM then turns a seeded request's generator back by its offset, which generators of a CPU do not have: the worker
raises `CPU Generator does not use offset`, and the engine with every request in it is dead (0.32,
GPUModelRunner._bookkeeping_sync). Here they are put back into the state that they had.
"""

from __future__ import annotations

import importlib
from typing import Any


def fix_seeds(runner: Any) -> None:
    """runner: the class of vLLM's model runner. Generators of requests whose token is thrown away stay as they are."""
    sample, bookkeeping = runner._sample, runner._bookkeeping_sync

    def _sample(self: Any, *arguments: Any) -> Any:
        batch = self.input_batch
        discarded = self.discard_request_mask.np[: batch.num_reqs].nonzero()[0].tolist()
        before = [
            (generator, generator.get_state())
            for generator in map(batch.generators.get, discarded)
            if generator is not None
        ]
        sampled = sample(self, *arguments)
        for generator, state in before:
            generator.set_state(state)
        return sampled

    def _bookkeeping_sync(self: Any, *arguments: Any) -> Any:
        batch = self.input_batch
        generators, batch.generators = batch.generators, {}  # there is none left to turn back
        try:
            return bookkeeping(self, *arguments)
        finally:
            batch.generators = generators

    runner._sample, runner._bookkeeping_sync = _sample, _bookkeeping_sync


class Worker:
    """Mixed into vLLM's worker; importing it is all that it is for."""


fix_seeds(importlib.import_module("vllm.v1.worker.gpu_model_runner").GPUModelRunner)
