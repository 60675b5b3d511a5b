"""`sightread bench nano`: how well the nano checkpoint reads, as one table. Seeds are fixed.

Lines are drawn in the strip's form and read by the network alone; pages go the way of every job: decoded in a
child, split, asked line by line. CER is the edit distance over the characters of the truth; for pages, of the
whole text in reading order, white space folded.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from jobs.demo_media import PAGES, SIGN, TICKET, write_demo_media
from jobs.load import parse
from jobs.try_file import NANO
from model.checkpoint import load
from model.nano.fonts import Face, seen_faces, unseen_faces
from model.nano.pages import Page, draw_page, held_out_lines
from model.nano.score import cer, read
from pipelines.job import prepare
from pipelines.local import answer

DEMO_TEXTS = {
    **{("lighthouse.pdf", index): "\n".join(line.text for line in page) for index, page in enumerate(PAGES)},
    ("sign.png", 0): "\n".join(SIGN),
    ("ticket.png", 0): TICKET,
}


@dataclass(frozen=True)
class Score:
    what: str
    kind: str
    cer: float
    count: int


def bench_nano(model: str | None, *, lines: int, pages: int, console: Console) -> int:
    folder = Path(model) if model else NANO
    unseen = unseen_faces()
    table = Table(title=f"{folder}: character error rate", title_justify="left")
    for column in ("print", "text", "CER", "of"):
        table.add_column(column, justify="right" if column in ("CER", "of") else "left")
    jobs = [*_line_scores(folder, lines, unseen), *_page_scores(folder, pages, unseen), _demo_score(folder)]
    scores = [job() for job in track(jobs, "reading", console=console, transient=True)]
    for score in scores:
        table.add_row(score.what, score.kind, f"{100 * score.cer:.1f} %", f"{score.count}")
    families = [score for score in scores if score.kind == "prose, clean" and score.what in unseen]
    if families:
        mean = sum(score.cer for score in families) / len(families)
        table.add_row(f"mean of {len(families)} unseen", "prose, clean", f"{100 * mean:.1f} %", "")
    console.print(table)
    if not unseen:
        console.print("no unseen fonts are installed; model/nano/fonts.py names the packages")
    return 0


def _line_scores(folder: Path, count: int, unseen: dict[str, list[Face]]) -> Iterator[Callable[[], Score]]:
    network = load(folder)

    def job(what: str, faces: list[Face], kind: str, noise: float) -> Score:
        samples = held_out_lines(faces, count, noise=noise, seed=7, kind=kind)
        found = cer(read(network, samples), [sample.text for sample in samples])
        return Score(what, f"{kind}, {'noisy' if noise else 'clean'}", found, count)

    seen = seen_faces()
    sets = {f"{len(seen)} seen fonts": seen, **unseen}
    for kind, noise in (("prose", 0.0), ("prose", 1.0), ("words", 0.0), ("random", 0.0)):
        for what, faces in sets.items():
            if what in unseen and noise:
                continue
            yield partial(job, what, faces, kind, noise)


def _page_scores(folder: Path, count: int, unseen: dict[str, list[Face]]) -> Iterator[Callable[[], Score]]:
    for columns in (1, 2):
        yield partial(_page_score, folder, count, unseen, columns)


def _page_score(folder: Path, count: int, unseen: dict[str, list[Face]], columns: int) -> Score:
    rng = random.Random(f"pages {columns}")
    families = list(unseen.values()) or [seen_faces()]
    drawn: dict[str, Page] = {}
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            page = draw_page(rng, families[number % len(families)][0], columns=columns)
            drawn[f"{number:03d}.png"] = page
            page.picture.save(Path(place) / f"{number:03d}.png")
        texts = _read_files(folder, Path(place))
    wrong = cer(
        [_folded(texts.get((name, 0), "")) for name in drawn],
        [_folded("\n".join(page.lines)) for page in drawn.values()],
    )
    plural = "columns" if columns > 1 else "column"
    return Score("pages in unseen fonts" if unseen else "pages", f"prose, {columns} {plural}", wrong, count)


def _demo_score(folder: Path) -> Callable[[], Score]:
    def job() -> Score:
        with tempfile.TemporaryDirectory() as place:
            write_demo_media(Path(place))
            texts = _read_files(folder, Path(place))
        wrong = cer(
            [_folded(texts.get(unit, "")) for unit in DEMO_TEXTS], [_folded(text) for text in DEMO_TEXTS.values()]
        )
        return Score("the demo's pages and pictures", "as they are", wrong, len(DEMO_TEXTS))

    return job


def _read_files(folder: Path, place: Path) -> dict[tuple[str, int], str]:
    """Text of every (file name, unit) in a folder, by the operators of a job."""
    engine = {"kind": "torch", "model": str(folder), "slots": 32}
    spec = parse(
        {"name": "bench", "inputs": [str(place)], "tasks": ["ocr"], "engine": engine, "output": "unused"}, "bench"
    )
    return {
        (Path(row["input_uri"]).name, row["unit_index"]): row["result"]["text"]
        for row in answer(prepare(spec))
        if row["status"] == "ok"
    }


def _folded(text: str) -> str:
    return " ".join(text.split())
