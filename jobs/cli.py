"""The `sightread` command. Parses the line and hands over; nothing heavy is imported before it must be.

Exit codes: 0 done; 1 something broke or is incomplete; 2 the command line or the spec is wrong; 3 more rows
failed than limits.max_failed_fraction allows; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import JobConflict, SightreadError, SpecError


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (SpecError, JobConflict) as error:
        print(f"sightread: {error}", file=sys.stderr)
        return 2
    except SightreadError as error:
        print(f"sightread: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sightread: interrupted; the same command again goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return 1


def _nobody_reads() -> bool:
    """Whether stdout is what broke (`sightread … | head`), which is no fault. Then nothing more is written there."""
    try:
        place = sys.stdout.fileno()
    except OSError:  # it is no file
        return False
    poll = select.poll()
    poll.register(place, 0)
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), place)  # Python flushes once more as it ends
    return gone


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sightread", description="Documents, images and video in, typed Parquet out, read by Qwen3-VL."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="run a job spec, or go on where it stopped")
    run.add_argument("spec", type=Path, help="the job spec (YAML)")
    run.add_argument("--limit", type=_count, metavar="N", help="stop after the chunks that hold the next N rows")
    run.set_defaults(command=_run)

    plan = commands.add_parser("plan", help="show stages, chunks and units of a job; starts nothing")
    plan.add_argument("spec", type=Path, help="the job spec (YAML)")
    plan.set_defaults(command=_plan)

    attempt = commands.add_parser("try", help="ask about one file, answer on the terminal")
    attempt.add_argument("file", type=Path)
    attempt.add_argument("--task", default="ocr", help="name of a task (see `sightread tasks`)")
    attempt.add_argument("--prompt", help="asked instead of the task's own prompt")
    attempt.add_argument("--model", default=None, help="checkpoint folder or hub name (default: the nano checkpoint)")
    attempt.add_argument("--recording", default=None, help="answer from this recording instead of a model")
    attempt.set_defaults(command=_try)

    show = commands.add_parser("show", help="show the first rows of a job's output")
    show.add_argument("output", help="of a job: a path or another address")
    show.add_argument("--rows", type=_count, default=20, metavar="N")
    show.set_defaults(command=_show)

    again = commands.add_parser("reparse", help="read the raw replies of a job again, without an engine")
    again.add_argument("output", help="of a job: a path or another address")
    again.set_defaults(command=_reparse)

    markdown = commands.add_parser("markdown", help="assemble each document's Markdown from its parsed pages")
    markdown.add_argument("output", help="of a job: a path or another address")
    markdown.set_defaults(command=_markdown)

    overlay = commands.add_parser("overlay", help="draw what was found into the pictures of a job")
    overlay.add_argument("output", help="of a job: a path or another address")
    overlay.add_argument("--task", help="of this task alone")
    overlay.add_argument("--rows", type=_count, default=100, metavar="N", help="of each task at most")
    overlay.set_defaults(command=_overlay)

    bench = commands.add_parser("bench", help="measure: how well nano reads, how fast the engine is")
    benches = bench.add_subparsers(required=True, metavar="what")
    nano = benches.add_parser("nano", help="character error rates of the nano checkpoint; a few minutes")
    nano.add_argument("--model", default=None, help="another checkpoint of the kind (default: the one that ships)")
    nano.add_argument("--lines", type=_count, default=100, metavar="N", help="lines of each kind")
    nano.add_argument("--pages", type=_count, default=7, metavar="N", help="pages of each kind")
    nano.add_argument("--scenes", type=_count, default=60, metavar="N", help="pictures, and as many clips")
    nano.add_argument(
        "--pdf", type=Path, action="append", default=[], metavar="FILE", help="hold this to its text layer"
    )
    nano.set_defaults(command=_bench_nano)

    engine = benches.add_parser(
        "engine", help="the embedded engine beside transformers and vLLM, on random weights; a few minutes a dtype"
    )
    engine.add_argument("--device", default="cpu", help="cpu or cuda")
    engine.add_argument("--shape", default="2b", help="2b, 4b, 8b or 32b")
    engine.add_argument("--text-layers", type=_count, metavar="N", help="only so many (default: 2 on a CPU)")
    engine.add_argument("--vision-blocks", type=_count, metavar="N", help="the same for the vision tower")
    engine.add_argument("--dtype", nargs="+", choices=["float32", "bfloat16"], help="default: both on a CPU")
    engine.add_argument("--prompts", type=_count, default=4, metavar="N")
    engine.add_argument("--tokens", type=_several, default=32, metavar="N", help="answered to each prompt")
    engine.add_argument("--page", type=_size, default=(736, 1024), metavar="WxH", help="pixels of each prompt's page")
    engine.add_argument("--rounds", type=_count, default=3, metavar="N")
    engine.set_defaults(command=_bench_engine)

    doctor = commands.add_parser("doctor", help="look for what would go wrong: machine, model, server, a short canary")
    doctor.add_argument("spec", type=Path, nargs="?", help="the job spec (YAML); without, the machine and nano")
    doctor.set_defaults(command=_doctor)

    golden = commands.add_parser("golden", help="hold a model to a page, a picture and a clip whose answers are known")
    golden.add_argument("model", type=Path, help="checkpoint folder, or a job spec (YAML) whose engine is asked")
    golden.add_argument("--gpus", type=float, default=0, metavar="N", help="for a checkpoint folder (default: the CPU)")
    golden.set_defaults(command=_golden)
    long = benches.add_parser("long", help="memory that a very long prompt takes on the CPU; minutes")
    long.add_argument("--model", default=None, help="another checkpoint (default: nano, the one that ships)")
    long.add_argument("--tokens", type=_count, default=100_000, metavar="N")
    long.set_defaults(command=_bench_long)
    pipeline = benches.add_parser(
        "pipeline", help="how busy the pipeline keeps its engine: beside the bare engine, and beside ray.data.llm"
    )
    pipeline.add_argument(
        "--engine", choices=["paced", "vllm"], default="paced", help="paced: answers after a set time; needs no CPU"
    )
    pipeline.add_argument("--units", type=_count, default=500, metavar="N", help="pages, pictures and clips")
    pipeline.add_argument("--slots", type=_count, default=64, metavar="N", help="requests in flight")
    pipeline.add_argument("--rounds", type=_count, default=3, metavar="N")
    pipeline.add_argument("--step-ms", type=float, default=50.0, metavar="MS", help="of the paced engine, for a token")
    pipeline.add_argument("--tokens", type=_range, default=(40, 240), metavar="N-N", help="the paced engine's replies")
    pipeline.add_argument("--model", default=None, help="of vllm: checkpoint folder or hub name (default: nano)")
    pipeline.add_argument("--device", default="cpu", help="of vllm: cpu or cuda")
    pipeline.add_argument("--workers", type=_count, default=2, metavar="N", help="decoders")
    pipeline.add_argument(
        "--peer",
        default="32x8,16x16,64x4",
        metavar="RxB,…",
        help="of vllm: shapes of ray.data.llm (rows a batch x batches at once), the best is the peer; '' for none",
    )
    pipeline.set_defaults(command=_bench_pipeline)

    tasks = commands.add_parser("tasks", help="list the tasks")
    tasks.set_defaults(command=_tasks)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _several(text: str) -> int:
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError("must be at least 2: the first is prefill's")
    return number


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    sides = int(width), int(height)
    if min(sides) < 32 or sides[0] % 32 or sides[1] % 32:
        raise argparse.ArgumentTypeError("must be WxH in multiples of 32")
    return sides


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    bounds = int(least), int(most or least)
    if not 0 < bounds[0] <= bounds[1]:
        raise argparse.ArgumentTypeError("must be N-N, the smaller first")
    return bounds


def _run(options: argparse.Namespace) -> int:
    from jobs.run import run_spec

    return run_spec(options.spec, limit=options.limit)


def _plan(options: argparse.Namespace) -> int:
    from jobs.commands.plan import show_plan

    return show_plan(options.spec)


def _try(options: argparse.Namespace) -> int:
    from jobs.commands.try_file import try_file

    return try_file(
        options.file,
        task=options.task,
        prompt=options.prompt,
        model=options.model,
        recording=options.recording,
    )


def _show(options: argparse.Namespace) -> int:
    from jobs.commands.show import show_rows

    return show_rows(options.output, rows=options.rows)


def _reparse(options: argparse.Namespace) -> int:
    from jobs.commands.reparse import reparse_output

    return reparse_output(options.output)


def _markdown(options: argparse.Namespace) -> int:
    from jobs.commands.markdown import write_documents

    for path in write_documents(options.output):
        print(path)
    return 0


def _overlay(options: argparse.Namespace) -> int:
    from jobs.commands.overlay import write_overlays

    failed = False
    for written in write_overlays(options.output, task=options.task, rows=options.rows):
        failed |= written.failed
        print(written.text)
    return 1 if failed else 0


def _bench_nano(options: argparse.Namespace) -> int:
    from jobs.bench.nano import bench_nano
    from jobs.display import console_for

    return bench_nano(
        options.model,
        lines=options.lines,
        pages=options.pages,
        scenes=options.scenes,
        pdfs=options.pdf,
        console=console_for(),
    )


def _bench_engine(options: argparse.Namespace) -> int:
    from jobs.bench.engine import bench_engine
    from jobs.bench.engine_rounds import Setting
    from jobs.display import console_for

    on_cpu = options.device == "cpu"
    settings = [
        Setting(
            shape=options.shape,
            device=options.device,
            text_layers=options.text_layers or (2 if on_cpu else None),
            vision_blocks=options.vision_blocks or (2 if on_cpu else None),
            dtype=dtype,
            prompts=options.prompts,
            tokens=options.tokens,
            page=options.page,
            rounds=options.rounds,
        )
        for dtype in options.dtype or (["float32", "bfloat16"] if on_cpu else ["bfloat16"])
    ]
    return bench_engine(settings, console_for())


def _bench_long(options: argparse.Namespace) -> int:
    from jobs.bench.long import bench_long
    from jobs.display import console_for

    return bench_long(options.model, tokens=options.tokens, console=console_for())


def _doctor(options: argparse.Namespace) -> int:
    from jobs.commands.doctor import doctor
    from jobs.display import console_for

    return doctor(options.spec, console_for())


def _golden(options: argparse.Namespace) -> int:
    from jobs.commands.golden import golden
    from jobs.display import console_for

    return golden(options.model, gpus=options.gpus, console=console_for())


def _bench_pipeline(options: argparse.Namespace) -> int:
    from jobs.bench.pipeline import batch_shapes, bench_pipeline
    from jobs.display import console_for
    from schemas.checkout import NANO

    return bench_pipeline(
        engine=options.engine,
        units=options.units,
        slots=options.slots,
        rounds=options.rounds,
        step_ms=options.step_ms,
        tokens=options.tokens,
        model=options.model or str(NANO),
        device=options.device,
        workers=options.workers,
        peer=batch_shapes(options.peer),
        console=console_for(),
    )


def _tasks(_: argparse.Namespace) -> int:
    from pipelines.catalogue import find, names

    for name in names():
        task = find(name)
        print(f"{name:18} {', '.join(task.unit_kinds):12} {task.summary} -> {task.output.arrow_type}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
