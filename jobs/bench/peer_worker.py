"""A peer of `sightread bench engine` in a process of its own: `python -m jobs.bench.peer_worker`. Takes its orders as
lines of JSON on stdin and answers with one each, on what was stdout; whatever libraries print goes to stderr.

First order: {peer, folder, prompts, warm_up, …}, and what its peer takes; answer: {tokens, version, dtype}. Then, for
each part of a round: {part, arguments}; answer: its figures, peak_mb and version. An {error} ends it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from jobs.bench.pages import Prompt

WARM_TOKENS = 16


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        _serve(sys.stdin, answers)
    except Exception as error:
        _send(answers, {"error": f"{type(error).__name__}: {error}"[:500]})
        raise


def _serve(orders: IO[str], answers: IO[str]) -> None:
    order = json.loads(orders.readline())
    device = order["device"]
    warm_up = Prompt(**order.pop("warm_up"))
    peer = _build(order)
    _send(answers, {**peer.warm_up(warm_up, WARM_TOKENS), "version": peer.version, "dtype": peer.dtype})
    for line in orders:
        part = json.loads(line)
        gc.collect()
        forget_peak(device)
        figures = getattr(peer, part["part"])(**part["arguments"])
        if device != "cpu":  # others want to compute there too
            sys.modules["torch"].cuda.empty_cache()
        _send(answers, {**figures, "peak_mb": peak_mb(device), "version": peer.version})


def _build(order: dict[str, Any]) -> Any:
    peer, folder = order.pop("peer"), Path(order.pop("folder"))
    prompts = [Prompt(**prompt) for prompt in order.pop("prompts")]
    if peer == "vllm":
        from jobs.bench.vllm_peer import Vllm

        return Vllm(folder, prompts, **order)
    del order["kv_bytes"]
    if peer == "transformers":
        del order["context"]
        from jobs.bench.transformers_peer import Transformers

        return Transformers(folder, prompts, **order)
    from jobs.bench.embedded_peer import Embedded

    return Embedded(folder, prompts, **order)


def forget_peak(device: str) -> None:
    """What peak_mb measures starts here."""
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts here
    else:
        sys.modules["torch"].cuda.reset_peak_memory_stats(device)


def peak_mb(device: str) -> float:
    """The most that the whole process held since, weights and all: resident, or allocated on the device."""
    if device != "cpu":
        return float(sys.modules["torch"].cuda.max_memory_allocated(device) / 1e6)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def _send(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
