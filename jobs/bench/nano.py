"""`sightread bench nano`: how well the nano checkpoint reads, in characters wrong; a few minutes.

Seeds are fixed. Lines are drawn as line images and read by the network alone; pages, PDFs and the demo go the way of
every job: decoded in a child, split, asked line by line; scenes and clips are asked through the engine. CER is the
edit distance over the characters of the truth; for pages, of the whole text in reading order, white space folded.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from jobs.arguments import count
from jobs.demo_media import PAGES, SIGN, TICKET, write_demo_media
from jobs.display import console_for
from jobs.load import parse
from model.engines.torch_engine import TorchEngine
from model.nano import questions
from model.nano.fonts import Face, seen_faces, unseen_faces
from model.nano.metrics import Marks, score_caption, score_events, score_objects
from model.nano.pages import Page, draw_page, held_out_lines
from model.nano.scenes import Scene, draw_clip, draw_picture
from model.nano.score import cer, read
from model.network.checkpoint import load
from model.prompts.rgb import pack
from pipelines.job import prepare
from pipelines.local import answer
from schemas.checkout import NANO
from schemas.request import Clip, Message, Part, Request, Sampling
from schemas.spec import JobSpec

DEMO_TEXTS = {
    **{("lighthouse.pdf", index): "\n".join(line.text for line in page) for index, page in enumerate(PAGES)},
    ("sign.png", 0): "\n".join(SIGN),
    ("ticket.png", 0): TICKET,
}
SLOTS = 32


@dataclass(frozen=True)
class Score:
    """share: wrong characters where fewer are better, else what was right."""

    what: str
    kind: str
    share: float
    count: int


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", type=Path, default=NANO, help="another checkpoint of the kind (default: the one that ships)"
    )
    parser.add_argument("--lines", type=count, default=100, metavar="N", help="lines of each kind")
    parser.add_argument("--pages", type=count, default=7, metavar="N", help="pages of each kind")
    parser.add_argument("--scenes", type=count, default=60, metavar="N", help="pictures, and as many clips")
    parser.add_argument(
        "--pdf", type=Path, action="append", default=[], metavar="FILE", help="hold this to its text layer"
    )


def run(options: argparse.Namespace) -> int:
    folder: Path = options.model
    console = console_for()
    unseen = unseen_faces()
    table = Table(title=f"{folder.name}: characters wrong", title_justify="left")
    jobs: list[Callable[[], Score]] = [
        *_line_scores(folder, options.lines, unseen),
        *_page_scores(folder, options.pages, unseen),
        _demo_score(folder),
        *(partial(_pdf_score, folder, pdf) for pdf in options.pdf),
    ]
    scores = [job() for job in track(jobs, "reading", console=console, transient=True)]
    for kind in ("prose, clean", "random, clean"):
        families = [score for score in scores if score.kind == kind and score.what in unseen]
        if families:
            mean = sum(score.share for score in families) / len(families)
            scores.append(Score(f"mean of {len(families)} unseen fonts", kind, mean, sum(f.count for f in families)))
    _show(table, scores, "CER", console)
    scenes = Table(title=f"{folder.name}: pictures and clips", title_justify="left")
    _show(scenes, _scene_scores(folder, options.scenes), "right", console)
    console.print(page_seconds(folder))
    if not unseen:
        console.print("no unseen fonts are installed; model/nano/fonts.py names the packages")
    return 0


def _show(table: Table, scores: list[Score], share: str, console: Console) -> None:
    for column in ("what", "kind", share, "of"):
        table.add_column(column, justify="right" if column in (share, "of") else "left")
    for score in scores:
        table.add_row(score.what, score.kind, f"{100 * score.share:.1f} %", f"{score.count}")
    console.print(table)


def _line_scores(folder: Path, count: int, unseen: dict[str, list[Face]]) -> Iterator[Callable[[], Score]]:
    network = load(folder)

    def job(what: str, faces: list[Face], kind: str, noise: float) -> Score:
        samples = held_out_lines(faces, count, noise=noise, seed=7, kind=kind)
        wrong = cer(read(network, samples), [sample.text for sample in samples])
        return Score(what, f"{kind}, {'noisy' if noise else 'clean'}", wrong, count)

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


def _pdf_score(folder: Path, pdf: Path) -> Score:
    """Against the PDF's own text layer, in its own order, where a page has one."""
    rows = {index: row for (_, index), row in _rows(folder, pdf).items() if row["text_layer"]}
    truths = [_folded(row["text_layer"]) for row in rows.values()]
    wrong = cer([_folded(row["result"]["text"]) for row in rows.values()], truths)
    return Score(pdf.name, "against its text layer", wrong, len(rows))


def _read_files(folder: Path, place: Path) -> dict[tuple[str, int], str]:
    """Text of every (file name, unit) of a file or a folder."""
    return {unit: row["result"]["text"] for unit, row in _rows(folder, place).items()}


def page_seconds(folder: Path) -> str:
    """How long a page of 50 lines takes, one at a time: decoding with splitting, and asking."""
    rng = random.Random("seconds")
    face = next(iter(unseen_faces().values()), seen_faces())[0]
    seconds: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as place:
        for number in range(4):
            draw_page(rng, face, lines=49).picture.save(Path(place) / f"{number}.png")
        mark = time.monotonic()
        for row in answer(prepare(_spec(folder, Path(place), limits={"chunk_units": 1}))):
            seconds.append((row["decode_s"], time.monotonic() - mark - row["decode_s"]))
            mark = time.monotonic()
    # the first one waited for the engine to start
    decode_s, ask_s = (statistics.median(column) for column in zip(*seconds[1:], strict=True))
    return f"a page of 50 lines: {decode_s:.1f} s to decode and split, {ask_s:.1f} s to read, on {os.cpu_count()} cores"


def _rows(folder: Path, place: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows that came out well by (file name, unit), by the operators of a job."""
    return {
        (Path(row["input_uri"]).name, row["unit_index"]): row
        for row in answer(prepare(_spec(folder, place)))
        if row["status"] == "ok"
    }


def _spec(folder: Path, place: Path, **more: Any) -> JobSpec:
    engine = {"kind": "torch", "model": str(folder), "slots": SLOTS}
    return parse(
        {"name": "bench", "inputs": [str(place)], "tasks": ["ocr"], "engine": engine, "output": "unused", **more},
        "bench",
    )


def _scene_scores(folder: Path, count: int) -> list[Score]:
    """Pictures and clips drawn anew, each asked for everything that nano knows of it."""
    rng = random.Random("held out scenes")
    faces = seen_faces()
    asked: list[tuple[str, Scene, questions.Question, Callable[[str], Marks]]] = []
    for _ in range(count):
        rows, columns = rng.randint(3, 8), rng.randint(4, 14)
        scene = draw_picture(rng, faces, rows, columns)
        naming = questions.caption(scene)
        asked.append(("pictures, caption", scene, naming, partial(score_caption, question=naming)))
        if scene.things:
            labels = questions.asked_labels(rng, scene)
            for kind, points in (("pictures, boxes (IoU 0.7)", False), ("pictures, points", True)):
                question = questions.locate(scene, labels, points=points)
                asked.append((kind, scene, question, partial(score_objects, scene=scene, labels=labels)))
    for _ in range(count):
        clip = draw_clip(rng, faces, rng.randint(3, 14), rng.randint(3, 4), rng.randint(4, 7))
        naming = questions.caption(clip)
        asked.append(("clips, caption", clip, naming, partial(score_caption, question=naming)))
        asked.append(("clips, event borders (0.5 s)", clip, questions.events(clip), partial(score_events, scene=clip)))
    replies = asyncio.run(_replies(folder, [_request(str(i), s, q) for i, (_, s, q, _) in enumerate(asked)]))
    marks: dict[str, list[Marks]] = {}
    for (kind, _, _, mark), reply in zip(asked, replies, strict=True):
        marks.setdefault(kind, []).append(mark(reply))
    everything = [mark for of_kind in marks.values() for mark in of_kind]
    parsed = sum(mark.parsed for mark in everything) / len(everything)
    scores = [Score("replies", "parse", parsed, len(everything))]
    for kind, of_kind in marks.items():
        what, _, about = kind.partition(", ")
        scores.append(Score(what, about, sum(m.right for m in of_kind) / sum(m.wanted for m in of_kind), len(of_kind)))
    return scores


def _request(name: str, scene: Scene, question: questions.Question) -> Request:
    pictures = tuple(map(pack, scene.frames))
    shown: Part = Clip(pictures, scene.times_s) if scene.times_s else pictures[0]
    return Request(name, (Message("user", (shown, question.prompt)),), Sampling(max_tokens=256))


async def _replies(folder: Path, requests: list[Request]) -> list[str]:
    engine = TorchEngine(folder, slots=SLOTS)
    try:
        return [reply.text for reply in await asyncio.gather(*map(engine.generate, requests))]
    finally:
        await engine.close()


def _folded(text: str) -> str:
    return " ".join(text.split())
