"""Measure the pipeline against its own engine with all requests at hand, and against ray.data.llm, in turns.

Each run is a process of its own. What is timed is the same for all: from the first request that a loaded engine gets
to the last answer; loading and starting Ray are left out. Knows nothing of tables.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.bench.bare_engine import measure
from jobs.bench.ray_llm import RESULT, write_requests
from model.engines.kinds import EngineSettings
from operators.infer.engine_handle import Done, Stats
from operators.infer.infer import Infer
from operators.infer.utilization import Utilization
from operators.media.decode import Decode
from operators.media.probe import Probe
from pipelines.job import Job, prepare
from pipelines.planning import chunk_table, list_job
from schemas.checkout import ROOT
from schemas.errors import SightreadError
from schemas.request import Completion, Request
from schemas.spec import JobSpec

PAGES_A_FILE = 25
BARE, OURS, PEER = "bare engine", "sightread", "ray.data.llm"


@dataclass
class Result:
    """Output tokens a second of every round. note: what else is to be said of it, or why it could not be run."""

    name: str
    rates: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.rates)


def paced_recording(path: Path, inputs: Path, *, step_s: float, tokens: tuple[int, int], seed: int = 0) -> None:
    """Replies of so many words at least and at most, most of them short and a few long, one word every step_s seconds;
    which unit gets how many follows from the seed."""
    chance, middle = random.Random(seed), math.sqrt(tokens[0] * tokens[1])
    lines = []
    for file in sorted(inputs.iterdir()):
        for unit in range(PAGES_A_FILE if file.suffix == ".pdf" else 1):
            count = min(tokens[1], max(tokens[0], round(chance.lognormvariate(math.log(middle), 0.7))))
            line = {"sample": file.name, "unit": unit, "reply": " ".join(["word"] * count), "delay_s": count * step_s}
            lines.append(json.dumps(line))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def spec_of(inputs: Path, output: Path, engine: dict[str, Any], decode: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "bench", "inputs": [str(inputs)], "tasks": ["jobs.bench.transcribe:TASK"], "output": str(output),
        "engine": engine, "decode": decode,
    }  # fmt: skip


def requests_of(job: Job) -> list[Request]:
    """What the pipeline will ask, without asking it: every input is decoded here."""
    requests: list[Request] = []

    class Listener:
        """An engine that is asked and never says a thing."""

        broken: str | None = None
        utilization, stats = Utilization(1), Stats()

        def submit(self, request: Request, done: Done) -> None:
            requests.append(request)
            done(request, Completion("", "stop", 0, 0, 0.0))

        def close(self) -> None:
            pass

    probe, decode = Probe(job.decode, workers=job.workers), Decode(job.decode)
    infer = Infer(job.infer, Listener())
    try:
        chunks = chunk_table(list_job(job).inputs, probe, job)
        for row in range(chunks.num_rows):
            infer(decode(chunks.slice(row, 1)))
    finally:
        probe.close()
        decode.close()
    return requests


@dataclass
class Peer:
    """ray.data.llm. shapes: (rows a batch, batches at once) to try; the best is then held to in all rounds.

    Runs under the Python of vLLM, which must have ray[data] too.
    """

    shapes: list[tuple[int, int]]
    limit_s: float = 1200.0  # of one run: it has stages that wait for ever
    _best: tuple[int, int] | None = None

    def choose(self, requests: Path, engine: EngineSettings, report: Callable[[str], None]) -> str | None:
        """Try every shape once. Why it cannot be run, if it cannot."""
        rates: dict[tuple[int, int], float] = {}
        fault = "no shape to try"
        for shape in self.shapes:
            try:
                rates[shape] = self.rate(requests, engine, shape)
                report(f"{PEER}, {shape[0]} rows x {shape[1]} batches: {rates[shape]:.0f} tokens/s")
            except SightreadError as error:
                fault = str(error)
                report(f"{PEER}, {shape[0]} rows x {shape[1]} batches: {fault}")
        if not rates:
            return fault
        self._best = max(rates, key=lambda shape: rates[shape])
        return None

    def rate(self, requests: Path, engine: EngineSettings, shape: tuple[int, int] | None = None) -> float:
        """Output tokens a second. Raises SightreadError."""
        rows, batches = shape or self.best
        command = [engine.python() or sys.executable, "-m", "jobs.bench.ray_llm"]
        code, out, err = _ended(
            [*command, str(requests), json.dumps(asdict(engine)), str(rows), str(batches)], self.limit_s
        )
        results = [line.removeprefix(RESULT) for line in out.splitlines() if line.startswith(RESULT)]
        if code or not results:
            raise SightreadError(f"it ended with {code}: {_last_error(err)}")
        ran = json.loads(results[-1])
        return float(ran["output_tokens"] / ran["seconds"])

    @property
    def best(self) -> tuple[int, int]:
        assert self._best is not None
        return self._best


def _ended(command: list[str], limit_s: float) -> tuple[int, str, str]:
    """Code, stdout and stderr of a command, killed with its group after so long. Files, not pipes: what it started may
    outlive it and hold them open."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=out,
            stderr=err,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise SightreadError(f"it had not ended after {limit_s:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for file in (out, err):
            file.seek(0)
        return process.returncode, out.read(), err.read()


def _last_error(text: str) -> str:
    lines = [line for line in text.splitlines() if "Error" in line or "Exception" in line]
    return " ".join((lines or text.splitlines() or ["it printed nothing"])[-1].split())[:300]


def compare(
    spec: dict[str, Any],
    folder: Path,
    *,
    rounds: int,
    report: Callable[[str], None],
    peer: Peer | None = None,
) -> list[Result]:
    """Bare engine, ours and the peer, `rounds` times in turns. report: takes a line for each run as it ends.

    Raises SightreadError when bare or ours cannot be run; a peer that cannot has its reason in its note.
    """
    job = prepare(JobSpec.model_validate(spec))
    report("decoding all units once, for the bare engine")
    requests = requests_of(job)
    bare, ours, other = Result(BARE), Result(OURS), Result(PEER)
    file = folder / "requests.arrow"
    if peer is not None:
        write_requests(requests, file)
        if fault := peer.choose(file, job.infer.engine, report):
            other.note, peer = f"cannot be run here: {fault}", None
        else:
            other.note = f"{peer.best[0]} rows a batch, {peer.best[1]} batches at once; given decoded pictures"
    for number in range(rounds):
        place = f"round {number + 1} of {rounds}"
        bare.rates.append(measure(job.infer.engine, requests).rate)
        report(f"{place}: {BARE}: {bare.rates[-1]:.0f} tokens/s")
        ran = _ours({**spec, "output": str(folder / f"out-{number}")}, len(requests))
        ours.rates.append(ran["tokens_per_s"])
        ours.note = f"{ran['utilization']:.0%} of its slots in use, bottleneck: {ran['bottleneck']}"
        if ran["deaths"]:
            raise SightreadError(f"the engine died {ran['deaths']} times: its rate says nothing")
        report(f"{place}: {OURS}: {ours.rates[-1]:.0f} tokens/s; {ours.note}")
        if peer is not None:
            other.rates.append(peer.rate(file, job.infer.engine))
            report(f"{place}: {PEER}: {other.rates[-1]:.0f} tokens/s")
    return [bare, ours, *([other] if other.note else [])]


def _ours(spec: dict[str, Any], rows: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.bench.pipeline_rounds"],
        cwd=ROOT, input=json.dumps(spec), capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise SightreadError(f"the pipeline ended with {done.returncode}: {done.stderr[-1000:]}")
    ran: dict[str, Any] = json.loads(lines[-1])
    if ran["rows"] != rows:
        raise SightreadError(f"the pipeline answered {ran['rows']} of {rows} requests")
    return ran


def main() -> None:
    """Run the spec on stdin (JSON); the last line on stdout says how fast."""
    from pipelines.run import run

    summary = run(prepare(JobSpec.model_validate(json.load(sys.stdin))))
    assert summary.engine is not None
    ok = sum(task.ok for task in summary.tasks.values())
    print(json.dumps({**asdict(summary.engine), "rows": ok}))


if __name__ == "__main__":
    main()
