"""A peer of `sightread bench engine` in its own process: start it, ask it, read why it died."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from schemas.checkout import ROOT
from schemas.errors import EngineError

VLLM = "vllm"
VLLM_PYTHON = "SIGHTREAD_VLLM_PYTHON"
"""Environment: the interpreter of an environment that has vLLM."""


class Process:
    """A process of jobs/bench/peer_worker.py. Raises EngineError, with the end of its log, when it fails or dies."""

    def __init__(self, process: subprocess.Popen[str], log: Path, name: str) -> None:
        self._process, self._log, self._name = process, log, name

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it is dead already: there is no line to read then, and its log says why
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._log.read_text(errors="replace")[-2000:]}
        if "error" in answer:
            raise EngineError("engine_error", f"bench engine: {self._name}: {answer['error']}")
        return answer

    def part(self, name: str, **arguments: Any) -> dict[str, Any]:
        """A method of the peer."""
        return self.ask({"part": name, "arguments": arguments})


@contextmanager
def started(order: dict[str, Any], folder: Path) -> Iterator[tuple[Process, dict[str, Any]]]:
    """The process and its answer to the first order. folder: for its log, and what else it needs."""
    kind = order["peer"]
    python = os.environ[VLLM_PYTHON] if kind == VLLM else sys.executable
    log = folder / f"{kind}.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [python, "-m", "jobs.bench.peer_worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            env=_environment(kind, folder),
            start_new_session=True,  # an interrupt is for us; what was measured is shown before it ends
        )
    try:
        peer = Process(process, log, kind)
        yield peer, peer.ask(order)
    finally:
        process.kill()
        process.communicate()


def _environment(kind: str, folder: Path) -> dict[str, str]:
    """vLLM is to use all cores, and gets what lets it be imported beside a torchvision that is linked against
    CUDA, in every process that it starts."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    if kind != VLLM:
        return environment
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    return {
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        **environment,
        "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
    }


SITE = """
import importlib.abc, sys

class BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch
            if torch.version.cuda is None:
                from torch.library import Library
                library = Library("torchvision", "DEF")
                kept.append(library)
                library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

kept = []
sys.meta_path.insert(0, BeforeTorchvision())
"""
"""A sitecustomize module: defines the two operators whose fakes torchvision's Python side registers."""
