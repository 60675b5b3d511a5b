"""The same spec on a laptop and through `ray job submit`: the same units, and with greedy sampling the same answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiny import tiny_checkpoint
from tests.support.world import ROOT, World, worlds, write_image, write_pdf

pytestmark = pytest.mark.slow

SCRIPTS = Path(sys.executable).parent


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Cluster:
    """A head of its own, on ports of its own; no other Ray of this machine is touched."""

    def __init__(self, world: World) -> None:
        self.port = free_port()
        # Ray's sockets lie below it, and their paths may have no more than 107 characters
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self.environment = {**world.environment, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
        self.log = world.folder / "head.log"
        with self.log.open("wb") as log:
            self.head = subprocess.Popen(
                [
                    *(str(SCRIPTS / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2"),
                    *(
                        f"--port={free_port()}",
                        f"--dashboard-port={self.port}",
                        f"--ray-client-server-port={free_port()}",
                        # one that is taken leaves the head without the agent that starts jobs
                        f"--dashboard-agent-listen-port={free_port()}",
                    ),
                    f"--temp-dir={self.folder}",
                ],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def submit(self, spec: Path, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(str(SCRIPTS / "ray"), "job", "submit", f"--address=http://127.0.0.1:{self.port}"),
                *("--working-dir", str(ROOT), "--", "python", "-m", "jobs.run", str(spec)),
            ],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def answers(self) -> bool:
        assert self.head.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self.head.terminate()
        self.head.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def cluster(world: World) -> Iterator[Cluster]:
    cluster = Cluster(world)
    try:
        world.wait_for(cluster.answers)
        yield cluster
    finally:
        cluster.stop()


def test_a_submitted_job_gives_the_same_rows(world: World, cluster: Cluster) -> None:
    write_pdf(world.inputs / "a.pdf", pages=3)
    write_image(world.inputs / "b.png")
    (world.inputs / "bad.jpg").write_bytes(b"garbage")
    world.spec["engine"] = {"kind": "torch", "model": str(tiny_checkpoint(world.folder / "tiny"))}
    world.spec["tasks"] = [{"name": "ocr", "max_tokens": 40}, {"name": "caption", "max_tokens": 40}]
    keys = ("input_uri", "unit_index", "unit_count", "page", "status", "text", "output_tokens", "spec_sha256")

    world.run()
    here = [{key: row[key] for key in keys} for task in ("ocr", "caption") for row in world.rows(task)]

    world.output = world.folder / "submitted"
    world.spec["output"] = str(world.output)
    ended = cluster.submit(world.spec_file)
    assert ended.returncode == 0, ended.stdout
    there = [{key: row[key] for key in keys} for task in ("ocr", "caption") for row in world.rows(task)]

    assert there == here
    assert len(here) == 5 + 2
    assert len({row["text"] for row in here}) >= 4, "replies that are all alike would prove nothing"

    world.spec["output"] = "out"
    refused = cluster.submit(world.spec_file)
    assert refused.returncode != 0
    assert "a Ray job needs an absolute path, not 'out'" in refused.stdout
