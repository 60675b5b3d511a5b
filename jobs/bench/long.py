"""`sightread bench long`: the memory that a very long prompt takes."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from jobs.bench.long_prompt import read_long
from model.network.hub import resolve
from schemas.checkout import NANO


def bench_long(model: str | None, *, tokens: int, console: Console) -> int:
    """1 when it took more than the bound."""
    folder: Path = resolve(model) if model else NANO
    found = read_long(folder, tokens, lambda line: print(line, file=sys.stderr, flush=True))
    console.print(
        f"{found.tokens:,} tokens in {found.steps} steps, {found.seconds:.0f} s; "
        f"memory grew by {found.grown_mb:.0f} MB, of which {found.cache_mb:.0f} MB are keys and values; "
        f"the bound is {found.bound_mb:.0f} MB"
    )
    return 0 if found.grown_mb <= found.bound_mb else 1
