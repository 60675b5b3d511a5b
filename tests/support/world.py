"""A small world for tests of whole jobs: inputs drawn inline, a spec, the command line, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import yaml
from PIL import Image, ImageDraw

from jobs.demo_media import Line, pdf_bytes
from operators.processes.environment import MARK
from schemas.checkout import ROOT

LOOK_S = 0.5
"""Between two looks at all processes of the machine: who reads /proc without a pause leaves the others little of it."""


def write_pdf(path: Path, pages: int) -> Path:
    path.write_bytes(pdf_bytes(tuple((Line(f"Page {number} of {path.stem}"),) for number in range(1, pages + 1))))
    return path


def write_image(path: Path, text: str = "Sign", frames: int = 1) -> Path:
    pictures = []
    for frame in range(frames):
        picture = Image.new("RGB", (320, 160), "white")
        ImageDraw.Draw(picture).text((20 + frame, 60), text, fill="black")
        pictures.append(picture)
    pictures[0].save(path, **({"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}))
    return path


def write_recording(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


class World:
    """A folder with a spec; `run` is the real command in a process of its own, marked so that it can be found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = folder / "in"
        self.inputs.mkdir()
        self.output = folder / "out"
        self.recording = folder / "replies.jsonl"
        self.mark = uuid.uuid4().hex
        self.module = "jobs.cli"
        self.variables: dict[str, str] = {}  # of the command's environment, besides our own
        self._started: list[subprocess.Popen[str]] = []
        self._others: set[str] = set()  # processes that another started, for as long as they live
        self._looked = -LOOK_S
        self.spec: dict[str, Any] = {
            "name": "test",
            "inputs": [str(self.inputs)],
            "tasks": ["ocr", "caption"],
            "engine": {"kind": "scripted", "recording": str(self.recording)},
            "output": str(self.output),
        }

    @property
    def spec_file(self) -> Path:
        path = self.folder / "spec.yaml"
        path.write_text(yaml.safe_dump(self.spec))
        return path

    @property
    def environment(self) -> dict[str, str]:
        # the suite may itself run beside other Rays: never join one by accident
        kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        return {**kept, MARK: self.mark, **self.variables}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", self.module, *(arguments or ("run", str(self.spec_file)))],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str, code: int = 0, timeout_s: float = 240) -> str:
        """What the command printed. Fails unless it exits with `code`."""
        process = self.start(*arguments)
        text, _ = process.communicate(timeout=timeout_s)
        assert process.returncode == code, text
        return text

    def rows(self, task: str) -> list[dict[str, Any]]:
        return self.query(f"select * from '{self.output}/results/task={task}/*.parquet' order by input_uri, unit_index")

    def query(self, text: str) -> list[dict[str, Any]]:
        with duckdb.connect() as db:
            table: list[dict[str, Any]] = db.sql(text).to_arrow_table().to_pylist()
        return table

    def parts(self) -> list[Path]:
        """In the log: what is committed, before and after it is published."""
        return sorted((self.output / "_job" / "parts").rglob("*.parquet"))

    def files(self) -> list[Path]:
        """Of the view: what readers see."""
        return sorted((self.output / "results").rglob("*.parquet"))

    def processes(self, needle: str = "") -> dict[int, str]:
        """Living processes that this world started, whoever their parent is now: pid -> command line. Waits for a
        moment where it was asked just now."""
        time.sleep(max(0.0, self._looked + LOOK_S - time.monotonic()))
        return {pid: line for pid, line in self.living().items() if needle in line}

    def living(self, *, anew: bool = False) -> dict[int, str]:
        """anew: also those are read that were another's when they were read last; the mark is inherited, so that they
        have it now only if their number was given out again."""
        self._looked = time.monotonic()
        living = {}
        there = {name for name in os.listdir("/proc") if name.isdigit()} - {str(os.getpid())}  # noqa: PTH208  names
        self._others = set() if anew else self._others & there
        for name in sorted(there - self._others, key=int):
            entry = Path("/proc", name)
            try:
                environment = (entry / "environ").read_bytes()
                if f"{MARK}={self.mark}".encode() not in environment:
                    if environment:  # one that begins has none for a moment
                        self._others.add(name)
                    continue
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if line:
                living[int(name)] = line
        return living

    def wait_for(self, what: Callable[[], Any], timeout_s: float = 120) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if result := what():
                return result
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout_s} s; alive: {self.processes()}")

    def nothing_left(self) -> None:
        """All processes of this world end by themselves within a moment."""
        deadline = time.monotonic() + 30
        left = self.living(anew=True)
        while left and time.monotonic() < deadline:
            left = self.processes()
        assert left == {}, left

    def sweep(self) -> None:
        """Kill what is left, and reap what we started: a test that failed must not trouble the next one."""
        for pid, line in self.living(anew=True).items():
            if "orphan_reaper" in line:
                continue  # it ends with what it looks after, and removes folders then
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._started:
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def opened(folder: Path) -> Iterator[World]:
    world = World(folder)
    try:
        yield world
    finally:
        world.sweep()
