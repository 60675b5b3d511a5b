"""A peer of `sightread bench engine` in a process of its own: `python -m jobs.bench.peer_worker`. Takes its orders as
lines of JSON on stdin and answers with one each, on what was stdout; whatever libraries print goes to stderr.

First order: {peer, folder, device, dtype, page, prompts, tokens, kv_bytes, ids}; answer: {}. Then, for each leg:
{pages, tokens, batch}; answer: {tokens, prefill_s, decode_s, peak_mb}. An {error} ends it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol

from jobs.bench.pages import Prompt, Timing, make_prompts


class Peer(Protocol):
    def run(self, prompts: Sequence[Prompt], new_tokens: int, batch: int) -> Timing:
        """All prompts, greedily, so many tokens each; batch of them at once at most."""


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
    prompts = make_prompts(order["prompts"], *order["page"], **order["ids"])
    peer = _build(order)
    _send(answers, {})
    for line in orders:
        leg = json.loads(line)
        gc.collect()
        forget_peak(order["device"])
        timing = peer.run(prompts[: leg["pages"]], leg["tokens"], leg["batch"])
        _send(answers, {**asdict(timing), "peak_mb": peak_mb(order["device"])})


def _build(order: dict[str, Any]) -> Peer:
    folder, device, dtype = Path(order["folder"]), order["device"], order["dtype"]
    if order["peer"] == "vllm":
        from jobs.bench.vllm_peer import Vllm

        return Vllm(
            folder,
            device=device,
            dtype=dtype,
            prompts=order["prompts"],
            tokens=order["tokens"],
            kv_bytes=order["kv_bytes"],
        )
    from jobs.bench.peers import Ours, Transformers

    if order["peer"] == "transformers":
        return Transformers(folder, device=device, dtype=dtype)
    return Ours(folder, device=device, dtype=dtype)


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
