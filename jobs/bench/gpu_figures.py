"""What scripts/gpu-figures runs: steps one after the other, each a process with a limit of its own that prints what it
had when it is stopped. Imports only the standard library, so that it can say what is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from schemas.checkout import ROOT

GRACE_S = 10.0
"""Of its limit, for what a step does once it is told to end."""
MOST_S = 480.0
"""All steps together."""

_ENGINE = ("torch", "numpy", "pyarrow", "tokenizers", "safetensors", "jinja2", "huggingface_hub", "rich")
_PRODUCT = ("ray", "pydantic", "av", "pypdfium2", "pikepdf", "duckdb", "obstore", "llguidance", "json_repair")
_ABOUT = """
import importlib.metadata as metadata, json, platform, torch
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
print(json.dumps({
    "python": platform.python_version(), "cpu": torch.backends.cpu.get_cpu_capability(),
    "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None, "cuda": torch.version.cuda,
    **{name: version(name) for name in ("torch", "triton", "transformers")},
}))
"""
_TESTS = """
import signal, sys, pytest
signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it still says why those failed that did
sys.exit(pytest.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Step:
    """command: of this interpreter; a line that it prints may be a JSON object. needs: names of modules."""

    name: str
    command: tuple[str, ...]
    limit_s: float
    needs: tuple[str, ...] = ()


def steps(device: str, folder: Path, *, small: bool) -> list[Step]:
    bench = ("-m", "jobs.cli", "bench", "engine", "--device", device, "--json")
    tiny = ("--shape", "tiny", "--requests", "2", "--answers", "3-4", "--pages", "64x64,96x64", "--rounds", "1")
    tests = [path for path in (ROOT / "tests").glob("test_*.py") if "mark.gpu" in path.read_text("utf-8")]
    # backwards: what holds kernel, graphs and draws comes first, and last the bench, which other steps run too
    named = sorted((str(path.relative_to(ROOT)) for path in tests), reverse=True)
    lines = ("-m", "jobs.bench.nano_lines", "--device", device, *(("--lines", "8") if small else ()))
    return [
        Step("about", ("-c", _ABOUT), 25.0, ("torch",)),
        Step(
            "tests",
            ("-c", _TESTS, "-m", "gpu", "-v", "--durations", "10", "--continue-on-collection-errors", *named),
            110.0,
            (*_ENGINE, "pytest", "pytest_timeout", "hypothesis", "transformers"),
        ),
        Step("bench-8b", (*bench, *(tiny if small else ("--shape", "8b"))), 170.0, _ENGINE),
        Step("bench-2b", (*bench, *(tiny if small else ("--shape", "2b"))), 95.0, _ENGINE),
        Step("lines", lines, 35.0, (*_ENGINE, "PIL")),
        Step("demo", ("-m", "jobs.bench.demo_on", str(folder), "--device", device), 40.0, (*_ENGINE, *_PRODUCT)),
    ]


class Stopped(BaseException):
    """A signal came."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/gpu-figures", description="Measure the embedded engine here.")
    parser.add_argument("folder", type=Path, help="gets log.txt and figures.json")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--small", action="store_true", help="shapes of a toy: whether it works at all")
    parser.add_argument(
        "--only", metavar="STEP,…", help="some of the steps: about, tests, bench-8b, bench-2b, lines, demo"
    )
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    everything = wanted = steps(options.device, options.folder.absolute(), small=options.small)
    if options.device == "cpu":  # it is for trying this out, and other work may go on beside
        everything = wanted = [replace(step, limit_s=10 * step.limit_s) for step in wanted]
    if options.only:
        names = options.only.split(",")
        if unknown := sorted(set(names) - {step.name for step in wanted}):
            parser.error(f"--only: {unknown[0]!r} is none of {', '.join(step.name for step in wanted)}")
        wanted = [step for step in wanted if step.name in names]

    def stop(number: int, _: object) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with (options.folder / "log.txt").open("w", encoding="utf-8") as log:
            spare_s = sum(step.limit_s for step in everything if step not in wanted or _missing(step))
            return run(wanted, options.folder, log, device=options.device, spare_s=spare_s)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(wanted: Sequence[Step], folder: Path, log: IO[str], *, device: str = "cpu", spare_s: float = 0.0) -> int:
    """A step may also take what those before it left of their time, and the first ones spare_s, the time of steps that
    are not run. figures.json is written anew after each, so that it holds what there is. 1 when a step did not end
    well, 128 and the number of a signal that ended it all."""
    began = time.monotonic()
    figures: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "device": device, "steps": {}}
    code = 0
    for planned in wanted:
        step = planned if _missing(planned) else replace(planned, limit_s=planned.limit_s + spare_s)
        _tell(log, f"{time.monotonic() - began:.0f} s  {step.name}: {step.limit_s:.0f} s at most")
        try:
            outcome = run_step(step, log)
        except Stopped as stopped:
            _tell(log, f"stopped by signal {stopped.number}")
            code = 128 + stopped.number
            break
        if step.name == "about" and device == "cuda" and outcome.get("printed", {}).get("card", "") is None:
            outcome["ended"] = "left out, as torch sees no CUDA device here"
        figures["steps"][step.name] = outcome
        _write(folder / "figures.json", figures)
        _tell(log, f"{step.name}: {outcome['ended']}, {outcome['seconds']:.0f} s")
        if not _missing(step):
            spare_s = max(0.0, step.limit_s - outcome["seconds"])
        code = code or int(outcome["ended"] != "well")
        if step.name == "about" and outcome["ended"] != "well":
            break  # nothing else can do better
    _write(folder / "figures.json", figures)
    _tell(log, f"{time.monotonic() - began:.0f} s in all; {folder / 'figures.json'}")
    return code


def run_step(step: Step, log: IO[str]) -> dict[str, Any]:
    """ended: "well", or how else; printed: the last JSON object among its lines, where there is one."""
    if missing := _missing(step):
        return {"ended": f"left out, as {', '.join(missing)} cannot be imported here", "seconds": 0.0}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *step.command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "180", "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    figures: list[str] = []
    reader = threading.Thread(target=_copy, args=(process.stdout, figures, log), daemon=True)
    reader.start()
    ended = ""
    try:
        process.wait(step.limit_s - GRACE_S)
    except subprocess.TimeoutExpired:
        ended = f"stopped at its limit of {step.limit_s:.0f} s"
    finally:
        _end(process)
        reader.join(2.0)
        if not reader.is_alive() and process.stdout is not None:
            process.stdout.close()
    seconds = time.monotonic() - started
    outcome: dict[str, Any] = {"ended": ended or _ended(process.returncode), "seconds": round(seconds, 1)}
    with suppress(ValueError, IndexError):
        outcome["printed"] = json.loads(figures[-1])
    return outcome


def _missing(step: Step) -> list[str]:
    return [name for name in step.needs if importlib.util.find_spec(name) is None]


def _ended(code: int) -> str:
    return "well" if code == 0 else f"failed with {code}; log.txt says why"


def _end(process: subprocess.Popen[str]) -> None:
    """Tell it, then end it and all that it started; also what it has left behind when it has ended by itself."""
    process.terminate()  # does nothing then
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _copy(source: IO[str] | None, figures: list[str], log: IO[str]) -> None:
    """Objects of JSON are for the other file."""
    assert source is not None
    for line in source:
        if line.startswith("{"):
            figures.append(line)
        else:
            _tell(log, line.rstrip("\n"))


def _tell(log: IO[str], line: str) -> None:
    print(line, flush=True)
    log.write(line + "\n")
    log.flush()


def _write(path: Path, figures: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
