"""A small Ray cluster for tests: a head that listens on ports of its own, so that no other Ray is touched."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import free_port
from tests.support.world import ROOT, World

SCRIPTS = Path(sys.executable).parent


class Cluster:
    """A head of its own, on ports of its own; no other Ray of this machine is touched."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.port = free_port()
        self.gcs_port = free_port()
        # Ray's sockets lie below it, and their paths may have no more than 107 characters
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        # of Ray's own means: whoever has it may come in
        self.token = secrets.token_hex(16)
        self.environment = {
            **world.environment,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
        }
        self.log = world.folder / "head.log"
        with self.log.open("wb") as log:
            self.head = subprocess.Popen(
                [
                    *(str(SCRIPTS / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2"),
                    *(
                        f"--port={self.gcs_port}",
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

    def submit(
        self, spec: Path, timeout_s: float = 240, *, token: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(str(SCRIPTS / "ray"), "job", "submit", f"--address=http://127.0.0.1:{self.port}"),
                *("--working-dir", str(ROOT), "--", "python", "-m", "jobs.run", str(spec)),
            ],
            cwd=ROOT,
            env={**self.environment, **({} if token is None else {"RAY_AUTH_TOKEN": token})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def ask(self, place: str) -> str:
        """What its dashboard says there to who has the token."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{place}", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(reply.read().decode())

    def answers(self) -> bool:
        assert self.head.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """All processes at once: told to end, a head drains its node for half a minute."""
        self.world.sweep()
        self.head.wait()
        self.world.nothing_left()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def clustered(world: World) -> Iterator[Cluster]:
    """Ends with every process of the world."""
    cluster = Cluster(world)
    try:
        world.wait_for(cluster.answers)
        yield cluster
    finally:
        cluster.stop()
