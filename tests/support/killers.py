"""A logits processor that kills vLLM's engine from within, where it hurts: a fault seeded through vLLM's own door
(`logits_processors`). Loaded by its worker; dies of any prompt that says POISON, byte by byte, as nano's tokens are.
"""

from __future__ import annotations

import os
import signal

from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor

POISON = [ord(letter) for letter in "POISON"]


class Killer(LogitsProcessor):
    def __init__(self, *_: object) -> None:
        pass

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        for _, _, prompt_ids, _ in batch_update.added if batch_update else ():
            ids = list(prompt_ids or ())
            if any(ids[start : start + len(POISON)] == POISON for start in range(len(ids))):
                os.kill(os.getpid(), signal.SIGKILL)

    def apply(self, logits: object) -> object:
        return logits
