"""scripts/gpu-figures where there is no GPU: every step ends within its limit, says what it lacks, and leaves what it
had in figures.json."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.bench import gpu_figures
from jobs.bench.gpu_figures import GRACE_S, MOST_S, Step, main, run, run_step, steps
from schemas.checkout import ROOT

HAD = "print('{\"had\": 3}', flush=True)"
WAIT = "import time; time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {HAD}; {WAIT}"
POLITE = (
    "import signal, sys, time\n"
    f"def ended(*_):\n    {HAD}\n    sys.exit(1)\n"
    "signal.signal(signal.SIGTERM, ended)\n"
    "print('begun', flush=True)\n"
    "time.sleep(60)"
)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_figures, "GRACE_S", 1.0)


def test_all_steps_together_take_less_than_eight_minutes(tmp_path: Path) -> None:
    wanted = steps("cuda", tmp_path, small=False)
    assert sum(step.limit_s for step in wanted) < MOST_S
    assert all(step.limit_s > 2 * GRACE_S for step in wanted)
    named = next(step for step in wanted if step.name == "tests").command
    marked = {str(path.relative_to(ROOT)) for path in ROOT.glob("tests/test_*.py") if "mark.gpu" in path.read_text()}
    assert marked <= set(named)
    assert "tests/test_gpu.py" in marked


@pytest.mark.parametrize("program", [POLITE, DEAF], ids=["polite", "deaf"])
def test_a_step_that_is_stopped_leaves_what_it_had(program: str, short: None) -> None:
    log = io.StringIO()
    # a second for the grace, the rest until the interpreter has started on a busy machine
    outcome = run_step(Step("slow", ("-c", program), 6.0), log)
    assert outcome["ended"].startswith("stopped at its limit")
    assert outcome["printed"] == {"had": 3}
    assert ("begun" in log.getvalue()) == (program is POLITE)


def test_what_is_missing_is_said_and_the_other_steps_go_on(tmp_path: Path) -> None:
    log = io.StringIO()
    wanted = [
        Step("lacking", ("-c", HAD), 60.0, ("json", "no_such_module")),
        Step("failing", ("-c", f"{HAD}; raise SystemExit(7)"), 60.0),
        Step("well", ("-c", HAD), 60.0),
    ]
    assert run(wanted, tmp_path, log) == 1
    found = json.loads((tmp_path / "figures.json").read_text())["steps"]
    assert found["lacking"]["ended"] == "left out, as no_such_module cannot be imported here"
    assert found["failing"]["ended"] == "failed with 7; log.txt says why"
    assert found["failing"]["printed"] == found["well"]["printed"] == {"had": 3}
    assert found["well"]["ended"] == "well"


def test_a_step_has_what_those_before_it_left_of_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def run_step_(step: Step, log: object) -> dict[str, object]:
        limits.append(step.limit_s)
        return {"ended": "well", "seconds": {"quick": 10.0, "late": 75.0, "last": 1.0}[step.name]}

    monkeypatch.setattr(gpu_figures, "run_step", run_step_)
    assert run([Step(name, (), 40.0) for name in ("quick", "late", "last")], tmp_path, io.StringIO()) == 0
    assert limits == [40.0, 70.0, 40.0]


def test_the_time_of_steps_that_are_not_run_is_for_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [Step("first", (), 40.0), Step("lacking", (), 50.0, ("no_such_module",)), Step("other", (), 60.0)]
    limits = []

    def run_step_(step: Step, log: object) -> dict[str, object]:
        limits.append(step.limit_s)
        return {"ended": "well", "seconds": 0.0 if step.name == "lacking" else 100.0}

    monkeypatch.setattr(gpu_figures, "run_step", run_step_)
    monkeypatch.setattr(gpu_figures, "steps", lambda device, folder, small: wanted)
    assert main([str(tmp_path)]) == 0
    assert limits == [90.0, 50.0, 60.0]
    limits.clear()
    assert main([str(tmp_path), "--only", "first"]) == 0
    assert limits == [150.0]


TESTS = """
import os, signal, time

def test_that_fails():
    assert 1 == 2, "why it failed"

def test_that_takes_too_long():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def test_tests_that_are_stopped_still_say_why_those_failed_that_did(tmp_path: Path) -> None:
    (tmp_path / "test_slow.py").write_text(TESTS)
    command = [sys.executable, "-c", gpu_figures._TESTS, "-q", "-p", "no:cacheprovider", str(tmp_path / "test_slow.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "why it failed" in done.stdout
    assert "1 failed" in done.stdout
    assert done.returncode == 2


def test_without_a_cuda_device_it_says_so_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_figures, "_ABOUT", "print('{\"card\": null}')")
    assert main([str(tmp_path)]) == 1
    found = json.loads((tmp_path / "figures.json").read_text())["steps"]
    assert list(found) == ["about"]
    assert found["about"]["ended"] == "left out, as torch sees no CUDA device here"


def test_a_signal_ends_the_step_and_keeps_the_figures(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom jobs.bench import gpu_figures as g\n"
        "g.GRACE_S = 1.0\n"
        f"wanted = [g.Step('first', ('-c', {HAD!r}), 60), g.Step('slow', ('-c', {WAIT!r}), 60)]\n"
        "g.steps = lambda device, folder, small: wanted\n"
        f"sys.exit(g.main([{str(tmp_path)!r}, '--device', 'cpu']))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "slow" in line:
            break
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    found = json.loads((tmp_path / "figures.json").read_text())["steps"]
    assert found["first"]["printed"] == {"had": 3}
    assert "stopped by signal 15" in (tmp_path / "log.txt").read_text()


@pytest.mark.timeout(1000)
def test_on_a_cpu_it_measures_a_toy(tmp_path: Path) -> None:
    """The tests' step would find nothing to do, and the demo has a test of its own."""
    line = ["scripts/gpu-figures", str(tmp_path), "--device", "cpu", "--small", "--only", "about,bench-2b,lines"]
    bare = {name: value for name, value in os.environ.items() if name != "SIGHTREAD_VLLM_PYTHON"}
    done = subprocess.run(line, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())["steps"]
    assert [step["ended"] for step in found.values()] == ["well"] * 3
    [measured] = found["bench-2b"]["printed"]["measured"]
    assert [result["name"] for result in measured["engines"]] == ["sightread", "transformers"]
    assert found["lines"]["printed"]["lines"] == 8
    assert "tok/s" in (tmp_path / "log.txt").read_text()


REGISTERED = """
import torch
torch.version.cuda = "13.0"
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):  # as a torchvision for CUDA does
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import tests.support.reference
print("there")
"""


def test_the_reference_defines_nothing_that_a_torchvision_for_cuda_has() -> None:
    done = subprocess.run([sys.executable, "-c", REGISTERED], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.stdout == "there\n", done.stderr[-2000:]


ABSENT = ("ray", "pydantic", "llguidance", "av", "pypdfium2", "pikepdf", "duckdb", "obstore", "rapidfuzz")
BARE = f"""
import importlib, sys

class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"a bare machine has no {{name}}")

sys.meta_path.insert(0, Bare())
for name in ("cli", "bench.engine", "bench.embedded_peer", "bench.transformers_peer", "bench.nano_lines"):
    importlib.import_module(f"jobs.{{name}}")
import tests.support.tiny
print("there")
"""


def test_the_engine_and_its_bench_need_what_a_bare_machine_has() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.stdout == "there\n", done.stderr[-2000:]
