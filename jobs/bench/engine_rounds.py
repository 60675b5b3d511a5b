"""Measure the embedded engine beside its peers: same weights, same requests, each in a process of its own, taken in
turns. Knows nothing of tables.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from jobs.bench.pages import QUESTION, Prompt, answer_lengths
from jobs.bench.peer_process import VLLM, VLLM_PYTHON, Process, started
from jobs.bench.peer_worker import WARM_TOKENS
from jobs.bench.processor import processor_name
from jobs.bench.roofline import Ceilings, Work
from jobs.bench.shapes import config_json, write_checkpoint
from model.network.config import Config
from model.prompts.chat import Chat
from model.prompts.preprocess import PATCH
from schemas.errors import EngineError
from schemas.request import Message, Picture

OURS, TRANSFORMERS = "sightread", "transformers"
PARTS = {OURS: ("legs", "whole"), TRANSFORMERS: ("whole",), VLLM: ("legs", "whole")}
"""What is asked of each in a round, one after the other; batched transformers tells of its legs in the whole."""
_WARM_UP_PX = (448, 608)
_ROUND = 1_000
"""Seeds of a round's pages: nothing that an engine keeps of one round helps it in the next."""


@dataclass(frozen=True)
class Setting:
    """sizes: width and height in pixels of the pages, which requests take in turns. answers: least and most tokens.
    steps: of decode that are measured alone."""

    shape: str
    device: str
    text_layers: int | None
    vision_blocks: int | None
    dtype: str
    requests: int
    sizes: tuple[tuple[int, int], ...]
    answers: tuple[int, int]
    steps: int
    sampling: dict[str, Any]
    rounds: int


@dataclass
class Result:
    """rounds: seconds and counts by name, of every round that was begun. same: share of the tokens to one page,
    greedily, that are ours, up to the first that is not. start_s: until it had loaded and answered once. dtype: that it
    computes in."""

    name: str
    version: str
    dtype: str
    start_s: float
    same: float
    peak_mb: float = 0.0
    rounds: list[dict[str, float]] = field(default_factory=list)

    def values(self, key: str) -> list[float]:
        return [figures[key] for figures in self.rounds if key in figures]

    def median(self, key: str) -> float | None:
        """None where no round has it."""
        values = self.values(key)
        return statistics.median(values) if values else None


@dataclass(frozen=True)
class Spread:
    """least <= median <= most, of so many."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        return cls(statistics.median(values), min(values), max(values), len(values)) if values else None


def ratio(peer: Result, ours: Result, key: str, rows: str = "") -> Spread | None:
    """How many times as long as ours the peer takes, of the rounds in which both were measured: of each round for
    itself, since a machine is not as fast in all of them. rows: key of what the seconds are for, if not the same."""
    ratios = [
        theirs[key] / mine[key] * (mine[rows] / theirs[rows] if rows else 1.0)
        for theirs, mine in zip(peer.rounds, ours.rounds, strict=False)
        if key in theirs and key in mine
    ]
    return Spread.of(ratios)


class Measured:
    """What is there so far, whenever it is looked at."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.config = config_json(setting.shape, text_layers=setting.text_layers, vision_blocks=setting.vision_blocks)
        self.answers = answer_lengths(setting.requests, *setting.answers)
        self.prompts: list[Prompt] = []
        self.ceilings: Ceilings | None = None
        self.results: list[Result] = []

    @property
    def prompt_tokens(self) -> int:
        return sum(prompt.tokens for prompt in self.prompts)

    @property
    def work(self) -> Work:
        """Of ours, in the dtype that it computes in."""
        return Work(Config.from_json(self.config), getattr(torch, self.results[0].dtype).itemsize)

    def legs_s(self) -> float | None:
        """What the legs of ours add up to: prefill, then a step for every token of the longest answer, as long as its
        rows make it (in a straight line from one row to all)."""
        ours = self.results[0] if self.results else None
        if ours is None or not (step_s := ours.median("step_s")):
            return None
        one_s, prefill_s = ours.median("one_step_s"), ours.median("prefill_s")
        assert one_s is not None
        assert prefill_s is not None
        count = len(self.answers)
        alive = [sum(answer > token for answer in self.answers) for token in range(1, max(self.answers))]
        return prefill_s + sum(one_s + (step_s - one_s) * (rows - 1) / max(1, count - 1) for rows in alive)


def measure(measured: Measured, report: Callable[[str], None]) -> None:
    """Fills in what is measured: ours, batched transformers where it is installed, and vLLM where VLLM_PYTHON is set.
    Each warms up with a page of a size that none of the others has. report: takes a line for every part as it ends.
    """
    setting = measured.setting
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sightread-bench-")))
        dtype = getattr(torch, setting.dtype)
        most_px = max(width * height for width, height in (*setting.sizes, _WARM_UP_PX))
        write_checkpoint(measured.config, folder, dtype=dtype, device=setting.device, picture_px=most_px)
        report(f"{setting.dtype}: weights are written")
        chat = Chat(folder)
        sizes = [setting.sizes[number % len(setting.sizes)] for number in range(setting.requests)]
        measured.prompts = [_prompt(chat, size) for size in sizes]
        order = _order(folder, measured, _prompt(chat, _WARM_UP_PX))
        peers: list[tuple[Result, Process]] = []
        tokens: list[int] = []
        for name in PARTS:
            if name == VLLM and not os.environ.get(VLLM_PYTHON):
                continue
            began = time.perf_counter()
            try:
                process, answer = stack.enter_context(started({**order, "peer": name}, folder))
            except EngineError as error:
                if name == OURS:
                    raise
                report(f"{setting.dtype}: left out: {error}")
                continue
            tokens = tokens or answer["tokens"]
            began_s = time.perf_counter() - began
            result = Result(name, answer["version"], answer["dtype"], began_s, same(tokens, answer["tokens"]))
            report(f"{setting.dtype}: {name} ({result.version}) is loaded and warm after {result.start_s:.0f} s")
            if name == OURS:
                stack.callback(_tell_log, folder / f"{name}.log", report)
                ceilings = process.part("ceilings")
                measured.ceilings = Ceilings(ceilings["matrix_flops"], ceilings["bandwidth"])
            peers.append((result, process))
            measured.results.append(result)
        for number in range(1, setting.rounds + 1):
            for result, process in peers:
                result.rounds.append({})
                for part in PARTS[result.name]:
                    figures = process.part(part, seed=_ROUND * number)
                    result.peak_mb = max(result.peak_mb, figures.pop("peak_mb"))
                    result.version = figures.pop("version")
                    result.rounds[-1] |= figures
                    seconds = {key: value for key, value in figures.items() if key.endswith("_s")}
                    shown = ", ".join(f"{key.removesuffix('_s')} {value:.4g} s" for key, value in seconds.items())
                    report(f"{setting.dtype}, round {number} of {setting.rounds}: {result.name}: {shown}")


def _tell_log(log: Path, report: Callable[[str], None]) -> None:
    """The end of what the engine logged: what it had to do without stands there. There is no log of an engine that was
    never started."""
    text = log.read_text("utf-8", errors="replace") if log.exists() else ""
    for line in text.splitlines()[-40:]:
        report(f"{OURS} logged: {line}")


def same(ours: Sequence[int], theirs: Sequence[int]) -> float:
    """Share of the tokens before the first that differs: from there on, they answer another text."""
    return next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(ours)) / len(ours)


def hardware(device: str) -> str:
    """What the figures were measured on."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{processor_name()}, {instructions}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _prompt(chat: Chat, size: tuple[int, int]) -> Prompt:
    """The ids that the engine makes of such a request."""
    width_px, height_px = size
    message = Message("user", (Picture(width_px, height_px, b""), QUESTION))
    encoded = chat.encode_with(lambda _: (None, (1, height_px // PATCH, width_px // PATCH)), (message,))
    [(start, end)] = encoded.spans
    return Prompt(width_px, height_px, encoded.input_ids[:start], encoded.input_ids[end:])


def _order(folder: Path, measured: Measured, warm_up: Prompt) -> dict[str, Any]:
    """The first order to jobs/bench/peer_worker.py, but for who it is."""
    setting = measured.setting
    token_bytes = Config.from_json(measured.config).text.kv_bytes(getattr(torch, setting.dtype).itemsize)
    longest = max(prompt.tokens for prompt in (*measured.prompts, warm_up))
    context = longest + max(*measured.answers, 3 * setting.steps, WARM_TOKENS) + 32
    return {
        "folder": str(folder),
        "prompts": [asdict(prompt) for prompt in measured.prompts],
        "warm_up": asdict(warm_up),
        "device": setting.device,
        "dtype": setting.dtype,
        "answers": measured.answers,
        "steps": setting.steps,
        "sampling": setting.sampling,
        "context": context,
        "kv_bytes": token_bytes * setting.requests * context,
    }
