"""The two parts of a layer as compiled code: one for all layers, because their weights are arguments, and for any
number of tokens but one, which has code of its own. What is compiled is kept between runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model.network.language import Layer
from model.network.qwen3vl import Qwen3VL

_NETWORKS, _CODES = 16, 4
"""In one process (a bench, tests), and codes of each: torch stops at eight of a function otherwise."""

_log = logging.getLogger(__name__)


class Compiled:
    """A function as compiled code, for any size. What cannot be compiled, or fails for one size, is called as it is
    from then on, with the reason in the log after the words `without`: prompts and pictures of all sizes come in, and
    none may cost another its answer."""

    def __init__(
        self, plain: Callable[..., Any], without: str, *, backend: str | Callable[..., Any] = "inductor"
    ) -> None:
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, _NETWORKS * _CODES)
        self._plain, self._without = plain, without
        self._code: Callable[..., Any] | None = torch.compile(plain, dynamic=True, fullgraph=True, backend=backend)

    @property
    def is_compiled(self) -> bool:
        return self._code is not None

    def __call__(self, *arguments: Any) -> Any:
        if self._code is None:
            return self._plain(*arguments)
        try:
            return self._code(*arguments)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001  torch, Triton and drivers have no common error
            self._code = None
            _log.warning("%s: %s: %s", self._without, type(error).__name__, f"{error}"[:500])
            return self._plain(*arguments)


def compile_layers(network: Qwen3VL, *, backend: str | Callable[..., Any] = "inductor") -> None:
    """In place; the code is made at the first call. Attention between the parts, which depends on the cache, stays as
    it is. Modules that are arguments have parameters that are, in torch from 2.6 on."""
    keep_code()
    language = network.language_model
    without = "decoding without compiled layers"
    language.before_attention = Compiled(Layer.before_attention, without, backend=backend)
    language.after_attention = Compiled(Layer.after_attention, without, backend=backend)


def keep_code() -> Path:
    """Where torch keeps what it compiles: as its own variable says, else with the other caches of this user, and not in
    a temporary folder, which is its choice."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home / "sightread" / "torchinductor")))
