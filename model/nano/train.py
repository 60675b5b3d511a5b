"""Trains nano from nothing: `python -m model.nano.train --out out/nano [--resume]`.

First the vision tower learns to name the characters and the shapes under each token (half the cost of a step), then
all of it learns to write them out. A step is a batch of lines and a batch of scenes, each with an update of its own:
in a common one, the gradients of lines drown those of scenes. The state is saved every few minutes, so a run may be
stopped at any point, exported (`model.nano.export`) and resumed; a resumed run draws new lines. bf16 where the
processor has it: elsewhere autocast is eight times slower than float32. A GPU takes eight of these batches in the
time of one (`--batch 8`), and a dozen processors to draw them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from model.nano import corpus, sinusoidal
from model.nano.batches import Batch, Lines, SceneBatch, Scenes
from model.nano.fonts import Face, seen_faces, unseen_faces
from model.nano.losses import AuxiliaryHeads, losses, scene_losses
from model.nano.pages import held_out_lines
from model.nano.score import cer, read
from model.nano.shape import nano_config
from model.network.config import Config
from model.network.qwen3vl import Qwen3VL

Drawn = TypeVar("Drawn", Batch, SceneBatch)
STEPS = 7_000
STATE = "state.pt"
LOG = "log.jsonl"


@dataclass(frozen=True)
class Recipe:
    """The numbers of a run. Shares are of `steps`, or of `minutes` where those are given."""

    steps: int = STEPS
    minutes: float = 0.0
    boxes: bool = False  # a run is gone on with: the decoder alone, on pictures and their boxes mostly
    seed: int = 0
    vision_share: float = 0.28
    short_share: float = 0.15  # of either stage: short lines only
    peak_rate: float = 2e-3
    warm_up_steps: int = 100
    last_rate: float = 0.03  # of the peak
    weight_decay: float = 0.02
    clip: float = 1.0
    batch: int = 1  # times as many tokens as follow
    image_tokens: int = 512  # a batch
    scene_tokens: int = 384  # the same of scenes, once there are questions about them
    short_chars: tuple[int, int] = (2, 14)
    long_chars: tuple[int, int] = (4, 52)
    renderers: tuple[int, int] = (1, 1)  # processes that draw lines, and that draw scenes
    log_every: int = 50  # steps
    save_every_s: float = 120.0
    score_every_s: float = 300.0
    bf16: bool = False
    device: str = "cpu"


@dataclass
class Progress:
    """What a run has behind it; saved with the weights."""

    step: int = 0
    lines: int = 0
    characters: int = 0
    scenes: int = 0
    spent_s: float = 0.0  # on steps, with what they waited for
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
        sinusoidal.start(self.network)
        self.heads = AuxiliaryHeads(self.network)
        self.network.to(recipe.device)
        self.heads.to(recipe.device)
        if recipe.boxes:
            self.network.visual.requires_grad_(False)
        parameters = [*self.network.parameters(), *self.heads.parameters()]
        matrices = [parameter for parameter in parameters if parameter.ndim > 1]
        rest = [parameter for parameter in parameters if parameter.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=recipe.peak_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.parameters = parameters
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> None:
        state = torch.load(self.folder / STATE, weights_only=True, map_location=self.recipe.device)
        self.network.load_state_dict(state["network"])
        self.heads.load_state_dict(state["heads"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])

    def save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "heads": self.heads.state_dict(),
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
        """Of the run, what is behind."""
        if self.recipe.minutes:
            return self.progress.spent_s / 60 / self.recipe.minutes
        return self.progress.step / self.recipe.steps

    def train(self) -> None:
        """Run to the last step. Every part of the plan opens its own stream of lines."""
        recipe = self.recipe
        corpus.vocabulary()  # found out once: the processes that draw inherit it
        vision, short = recipe.vision_share, recipe.short_share
        self._part(vision * short, recipe.short_chars, decoder=False)
        self._part(vision, recipe.long_chars, decoder=False)
        self._part(vision + short * (1 - vision), recipe.short_chars, decoder=True)
        self._part(1.0, recipe.long_chars, decoder=True)
        self.save()

    def _part(self, until_share: float, chars: tuple[int, int], *, decoder: bool) -> None:
        if self.share >= until_share:
            return
        recipe, progress = self.recipe, self.progress
        progress.streams += 1
        seed = recipe.seed * 1000 + progress.streams  # a resumed run sees new lines
        tokens = recipe.batch * recipe.image_tokens
        widths = max(1, recipe.batch // 2)
        drawn = Lines(self.faces, seed, tokens, chars, noise=0.7, widths=widths)
        lines = iter(self._loader(drawn, recipe.renderers[0]))
        tokens = recipe.batch * (recipe.scene_tokens if decoder else recipe.image_tokens)
        asked = Scenes(self.faces, seed, tokens, asked=decoder, boxes=recipe.boxes)
        scenes = self._loader(asked, recipe.renderers[1])
        self.log(part="decoder" if decoder else "vision", chars=chars)
        saved = scored = logged = ended = time.monotonic()
        means = _Means()
        for steps, scene_batch in enumerate(scenes, start=1):
            if steps % (4 if recipe.boxes else 1) == 0:
                self._line_step(next(lines), means, decoder=decoder)
            self._scene_step(scene_batch, means, decoder=decoder)
            progress.step += 1
            now = time.monotonic()
            progress.spent_s += now - ended
            if steps % recipe.log_every == 0:
                self.log(**means.taken(), wall_s=round(now - logged, 1))
                logged = now
            if now - saved > recipe.save_every_s:
                self.save()
                saved = time.monotonic()
            if decoder and now - scored > recipe.score_every_s:
                self.log(**self.scores())
                scored = time.monotonic()
            if self.share >= until_share:
                break
            ended = time.monotonic()
        self.save()

    def _loader(self, drawn: IterableDataset[Drawn], processes: int) -> DataLoader[Drawn]:
        return DataLoader(
            drawn,
            batch_size=None,
            num_workers=processes,
            prefetch_factor=max(2, 8 // processes),
            pin_memory=self.recipe.device == "cuda",
        )

    def _line_step(self, batch: Batch, means: _Means, *, decoder: bool) -> None:
        progress = self.progress
        batch = batch.to(self.recipe.device)
        with self._autocast():
            loss = losses(self.network, self.heads, batch, decoder=decoder)
        self._learn(2.0 * loss.frames + 0.2 * loss.count + loss.reply + 0.6 * loss.attention)
        progress.lines += batch.lines
        progress.characters += batch.characters
        means.add(
            reply=loss.reply,
            frames=loss.frames,
            count=loss.count,
            attention=loss.attention,
            frame_errors=loss.frame_errors,
        )

    def _scene_step(self, batch: SceneBatch, means: _Means, *, decoder: bool) -> None:
        batch = batch.to(self.recipe.device)
        with self._autocast():
            loss = scene_losses(self.network, self.heads, batch, decoder=decoder)
        seen = loss.things + loss.sides + 0.3 * loss.order + loss.motion
        self._learn(seen + loss.reply + loss.times + loss.wanted + loss.attention)
        self.progress.scenes += len(batch.grid)
        means.add(things=loss.things, sides=loss.sides, thing_errors=loss.thing_errors, side_error=loss.side_error)
        if batch.grid[0, 0] > 1:
            means.add(motion=loss.motion, times=loss.times, clip=loss.reply, clip_attention=loss.attention)
        else:
            means.add(wanted=loss.wanted, order=loss.order, picture=loss.reply, picture_attention=loss.attention)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.recipe.device, torch.bfloat16, enabled=self.recipe.bf16)

    def _learn(self, loss: Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        self.optimiser.step()

    def rate(self) -> float:
        """Warm-up, then a cosine."""
        recipe = self.recipe
        warm = min(1.0, (self.progress.step + 1) / recipe.warm_up_steps)
        wave = 0.5 * (1 + math.cos(math.pi * min(self.share, 1.0)))
        return recipe.peak_rate * warm * (recipe.last_rate + (1 - recipe.last_rate) * wave)

    def scores(self, count: int = 40) -> dict[str, float]:
        """CER on held-out lines, seen faces and unseen ones."""
        sets = {"cer_seen": self.faces, "cer_unseen": [face for faces in unseen_faces().values() for face in faces]}
        scores = {}
        self.network.eval()
        for name, faces in sets.items():
            if faces:
                samples = held_out_lines(faces, count, noise=0.0, seed=1)
                scores[name] = round(cer(read(self.network, samples), [sample.text for sample in samples]), 4)
        self.network.train()
        return scores


def _has_bf16(device: str) -> bool:
    """Whether bfloat16 is the faster: where it is native, and not on a GPU, for which the network is too small."""
    if device == "cuda":
        return False
    cores = Path("/proc/cpuinfo")
    return cores.exists() and any(flag in cores.read_text() for flag in ("avx512_bf16", "amx_bf16"))


class _Means:
    """Means of what was added since they were last taken; not read before: a GPU would be waited for."""

    def __init__(self) -> None:
        self._added: dict[str, list[Tensor]] = {}

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._added.setdefault(name, []).append(value.detach())

    def taken(self) -> dict[str, float]:
        means = {name: round(float(torch.stack(values).float().mean()), 4) for name, values in self._added.items()}
        self._added = {}
        return means


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the nano checkpoint from nothing.")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches of lines, and as many of scenes")
    parser.add_argument("--minutes", type=float, default=0.0, help="instead of --steps: as many as fit")
    parser.add_argument("--out", type=Path, required=True, help="folder of state and log")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1, help="times what two cores take at a time; for a GPU")
    parser.add_argument("--rate", type=float, default=Recipe.peak_rate, help="peak learning rate")
    parser.add_argument(
        "--vision-share", type=float, default=Recipe.vision_share, help="of the run, for the tower alone"
    )
    parser.add_argument("--boxes", action="store_true", help="with --resume: the decoder alone, boxes mostly")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --out")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--float32", action="store_true", help="no bf16 where the processor has it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    recipe = Recipe(
        steps=options.steps,
        minutes=options.minutes,
        boxes=options.boxes,
        seed=options.seed,
        vision_share=options.vision_share,
        peak_rate=options.rate,
        batch=options.batch,
        bf16=not options.float32 and _has_bf16(device),
        device=device,
    )
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        cores = os.cpu_count() or 1
        recipe = replace(recipe, renderers=(max(1, cores * 3 // 8), max(1, cores // 2)))  # the rest is for this process
    run = Run(recipe, options.out, seen_faces())
    if options.resume:
        run.resume()
    run.train()
    run.log(**run.scores(100))


if __name__ == "__main__":
    main()
