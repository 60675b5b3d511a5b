"""Trains nano from nothing: `python -m model.nano.train --minutes 60 --out out/nano --seed 0 [--resume]`.

Two stages share the time: first the vision tower alone learns to name the characters under each token (half
the cost of a line), then all of it learns to write them out. The state is saved every few minutes, so a run
may be stopped at any point, exported (`model.nano.export`) and resumed. Float32: on cores without bf16
arithmetic autocast is eight times slower; with AVX-512 or CUDA `--bf16` is the quicker one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from model.config import Config
from model.nano.batches import Batch, Lines
from model.nano.fonts import Face, seen_faces, unseen_faces
from model.nano.losses import Teacher, losses
from model.nano.pages import held_out_lines
from model.nano.score import cer, read
from model.nano.shape import nano_config
from model.qwen3vl import Qwen3VL

STATE = "state.pt"
LOG = "log.jsonl"


@dataclass(frozen=True)
class Recipe:
    """The numbers of a run. Shares are of the run's time."""

    minutes: float
    seed: int = 0
    vision_share: float = 0.35
    short_share: float = 0.15  # of each stage: short lines only
    peak_rate: float = 2e-3
    warm_up_steps: int = 100
    last_rate: float = 0.03  # of the peak
    weight_decay: float = 0.02
    clip: float = 1.0
    image_tokens: int = 512  # a batch
    short_chars: tuple[int, int] = (2, 14)
    long_chars: tuple[int, int] = (4, 52)
    save_every_s: float = 120.0
    score_every_s: float = 300.0
    bf16: bool = False


@dataclass
class Progress:
    """What a run has behind it; saved with the weights."""

    step: int = 0
    lines: int = 0
    characters: int = 0
    spent_s: float = 0.0
    streams: int = 0


class Run:
    """One training run in one folder."""

    def __init__(self, recipe: Recipe, folder: Path, faces: list[Face], config: dict[str, Any] | None = None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.faces = recipe, folder, faces
        self.config = config or nano_config()
        self.network = Qwen3VL(Config.from_json(self.config))
        for module in self.network.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.1)
        self.teacher = Teacher(self.network)
        parameters = [*self.network.parameters(), *self.teacher.parameters()]
        matrices = [each for each in parameters if each.ndim > 1]
        rest = [each for each in parameters if each.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=recipe.peak_rate,
            betas=(0.9, 0.98),
        )
        self.parameters = parameters
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> None:
        state = torch.load(self.folder / STATE, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.teacher.load_state_dict(state["teacher"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])

    def save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": asdict(self.progress),
            "config": self.config,
            "recipe": asdict(self.recipe),
        }
        unfinished = self.folder / f".{STATE}"
        torch.save(state, unfinished)
        unfinished.replace(self.folder / STATE)

    def log(self, **values: Any) -> None:
        progress = self.progress
        line = {"step": progress.step, "lines": progress.lines, "minutes": round(progress.spent_s / 60, 2), **values}
        with (self.folder / LOG).open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    @property
    def share(self) -> float:
        """Of the run's time, what is spent."""
        return self.progress.spent_s / (60 * self.recipe.minutes)

    def train(self) -> None:
        """Run to the end of the time. Every part of the plan opens its own stream of lines."""
        recipe = self.recipe
        start_joint = recipe.vision_share
        short_joint = start_joint + recipe.short_share * (1 - start_joint)
        self._part(recipe.vision_share * recipe.short_share, recipe.short_chars, decoder=False)
        self._part(start_joint, recipe.long_chars, decoder=False)
        self._part(short_joint, recipe.short_chars, decoder=True)
        self._part(1.0, recipe.long_chars, decoder=True)
        self.save()

    def _part(self, until_share: float, chars: tuple[int, int], *, decoder: bool) -> None:
        if self.share >= until_share:
            return
        recipe, progress = self.recipe, self.progress
        progress.streams += 1
        seed = recipe.seed * 1000 + progress.streams  # a resumed run sees new lines
        noise = 0.7
        lines = Lines(self.faces, seed, recipe.image_tokens, chars, noise)
        loader = DataLoader(lines, batch_size=None, num_workers=1, prefetch_factor=8)
        self.log(part="decoder" if decoder else "vision", chars=chars)
        saved = scored = logged = time.monotonic()
        sums: dict[str, float] = {}
        for steps, batch in enumerate(loader, start=1):
            began = time.monotonic()
            self._step(batch, sums, decoder=decoder)
            now = time.monotonic()
            progress.spent_s += now - began
            if steps % 50 == 0:
                self.log(**{name: round(value / 50, 4) for name, value in sums.items()}, wall_s=round(now - logged, 1))
                sums, logged = {}, now
            if now - saved > recipe.save_every_s:
                self.save()
                saved = time.monotonic()
            if decoder and now - scored > recipe.score_every_s:
                self.log(**self.scores())
                scored = time.monotonic()
            if self.share >= until_share:
                break
        self.save()

    def _step(self, batch: Batch, sums: dict[str, float], *, decoder: bool) -> None:
        recipe, progress = self.recipe, self.progress
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            found = losses(self.network, self.teacher, batch, decoder=decoder)
        loss = 2.0 * found.frames + 0.2 * found.count + found.reply + 0.6 * found.attention
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.parameters, recipe.clip)
        self.optimiser.step()
        progress.step += 1
        progress.lines += batch.lines
        progress.characters += batch.characters
        shown = {"reply": found.reply, "frames": found.frames, "count": found.count, "attention": found.attention}
        for name, value in shown.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        sums["frame_errors"] = sums.get("frame_errors", 0.0) + found.frame_errors

    def rate(self) -> float:
        """Warm-up by steps, then a cosine over the time."""
        recipe = self.recipe
        warm = min(1.0, (self.progress.step + 1) / recipe.warm_up_steps)
        wave = 0.5 * (1 + math.cos(math.pi * min(self.share, 1.0)))
        return recipe.peak_rate * warm * (recipe.last_rate + (1 - recipe.last_rate) * wave)

    def scores(self, count: int = 40) -> dict[str, float]:
        """CER on held-out lines, seen faces and unseen ones."""
        sets = {"cer_seen": self.faces, "cer_unseen": [face for faces in unseen_faces().values() for face in faces]}
        found = {}
        self.network.eval()
        for name, faces in sets.items():
            if faces:
                samples = held_out_lines(faces, count, noise=0.0, seed=1)
                found[name] = round(cer(read(self.network, samples), [sample.text for sample in samples]), 4)
        self.network.train()
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the nano checkpoint from nothing.")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training steps, waiting for lines not counted")
    parser.add_argument("--out", type=Path, required=True, help="folder of state and log")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the state in --out")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--bf16", action="store_true", help="autocast; quicker only where the cores have bf16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = Run(Recipe(options.minutes, options.seed, bf16=options.bf16), options.out, seen_faces())
    if options.resume:
        run.resume()
    run.train()
    run.log(**run.scores(100))


if __name__ == "__main__":
    main()
