"""The small Ray that a run starts for itself: its head, a process in a session of its own, and what it may know.

Ray listens on all interfaces, and loopback alone would not keep other users of the machine out; a random token does.
It lies in the environment of Ray's processes and nowhere else: in no file, log or argument. Ray makes its own folders
writable for everybody, so they lie in one that nobody else can enter.

The head stands apart from the driver's process group, so that what ends the driver does not end Ray under it, and is
started without what `ray.init` and `ray start` bring along and no run needs: monitor, log monitor, API server, client
server, the two agents of a raylet (1.7 CPU-seconds, and four ports), and metrics, which no token guards. Nothing of it
runs from the folder where the driver stands. Heavy is only what `main`, in the head itself, imports.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operators.processes import orphan_reaper
from pipelines import task_modules
from schemas.checkout import ROOT
from schemas.errors import ClusterLost

TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105  the name of the variable
LONGEST_FOLDER = 43
"""Bytes of the path of our folder: Ray appends 63 to it for its sockets, whose paths have at most 107 (unix(7))."""
LOOK_S = 0.5
_LOG, _RAYS = "log", "r"
_ESSENTIAL = ("gcs_server", "raylet")
_PR_SET_PDEATHSIG = 1
_SETUP_HOOK = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"
"""Of ray._private.ray_constants, which takes half a second to import."""
_AGENT = re.compile(r"(?s)(--(?:dashboard|runtime_env)_agent_command=).*")
_PRESTARTED = re.compile(r"^(--num_prestart_python_workers=)\d+$")
_PORTS_OF_AGENTS = "dashboard_agent_listen_port", "metrics_agent_port", "metrics_export_port", "runtime_env_agent_port"
NO_PORT = -1
"""As an agent says it that has none."""


@dataclass
class Head:
    """address: of its GCS. folder: Ray's, inside one of ours. token: what its processes know each other by."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path
    token: str = field(repr=False)

    def how_it_ended(self) -> str:
        """Once it has."""
        code = self.process.wait()
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)  # what it started may hold the other end
        return (self.process.stdout.read() or b"").decode().strip() or f"its head exited with code {code}"

    def stop(self) -> None:
        """Kills all its processes and removes its folder."""
        _remove(self.process, self.folder.parent)


@dataclass
class Starting:
    """A head that is not up yet. folder: ours, which Ray's will lie in."""

    process: subprocess.Popen[bytes]
    folder: Path
    token: str = field(repr=False)

    def up(self, timeout_s: float) -> Head:
        """Once it can be joined. Raises ClusterLost with the reason; then nothing of it is left."""
        try:
            address = _address(self.process, self.folder / _LOG, timeout_s)
        except BaseException:
            self.stop()
            raise
        return Head(self.process, address, self.folder / _RAYS, self.token)

    def stop(self) -> None:
        """Kills all its processes and removes its folder."""
        _remove(self.process, self.folder)


def begin(cpus: int, store_bytes: int) -> Starting:
    """Begin to start a head, from a thread that lives as long as it is to. Raises ClusterLost."""
    orphan_reaper.start()
    folder = _folder()
    orphan_reaper.leave(folder=folder)
    token = _token()
    with (folder / _LOG).open("wb") as log:
        arguments = folder / _RAYS, cpus, store_bytes, os.getpid()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipelines.ray_head", *map(str, arguments)],
            cwd=folder,
            env=environment() | {TOKEN: token},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        orphan_reaper.leave(session=process.pid)
    except BaseException:
        _remove(process, folder)
        raise
    return Starting(process, folder, token)


@functools.cache
def _token() -> str:
    """One for all heads of this process: Ray's core keeps the first that it has read."""
    return secrets.token_hex(32)


def environment() -> dict[str, str]:
    """Of Ray's processes: ours, but for what would start something else there, and with the settings of `settings`."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS")}
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(path)]  # noqa: PTH117
    python = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *paths])}
    return kept | python | settings() | _task_modules()


def _task_modules() -> dict[str, str]:
    """What Ray would have its runtime env agent tell workers, which a head of ours does not start."""
    folders = task_modules.folders()
    return {task_modules.VARIABLE: os.pathsep.join(folders), _SETUP_HOOK: task_modules.HOOK} if folders else {}


def settings() -> dict[str, str]:
    """Environment variables of an embedded Ray and of the driver that joins it."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_metrics_collection": "0",
        # its core prints an ERROR about actor arguments in the object store on every run (ray issue 53727)
        "RAY_BACKEND_LOG_LEVEL": os.environ.get("RAY_BACKEND_LOG_LEVEL", "fatal"),
    }


def _folder() -> Path:
    """One that nobody else can enter, with a path short enough for sockets. Raises ClusterLost."""
    places = [os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "/tmp"]  # noqa: S108  mkdtemp makes the name
    for place in places:
        try:
            Path(place).mkdir(parents=True, exist_ok=True)  # as Ray does for RAY_TMPDIR
            folder = Path(tempfile.mkdtemp(prefix="sightread-ray-", dir=place)).absolute()
        except OSError as error:
            raise ClusterLost(f"Ray's folder for temporary files cannot be made in {place}: {error}") from error
        if len(os.fsencode(folder)) <= LONGEST_FOLDER and str(folder).isascii():  # Ray takes no other letters
            return folder
        folder.rmdir()
    raise AssertionError(places)


def _address(process: subprocess.Popen[bytes], log: Path, timeout_s: float) -> str:
    """What the head writes once it is up. Raises ClusterLost."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], timeout_s)[0]:
        raise ClusterLost(f"Ray did not start within {timeout_s:g} s")
    line = process.stdout.readline()
    if not line:
        last = log.read_text(errors="replace").strip().rpartition("\n")[2][:300]
        raise ClusterLost(f"Ray did not start: {last or f'exit code {process.wait()}'}")
    return str(json.loads(line)["address"])


def _remove(process: subprocess.Popen[bytes], folder: Path) -> None:
    orphan_reaper.kill_session(process.pid)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


def lean(command: list[str]) -> list[str]:
    """The command of a raylet, without what it would start for nobody.

    It ends with its agents and refuses to have none, so they are processes that wait, without its environment, which
    holds keys of stores. As many workers as there are CPUs
    start with the first driver, whatever it needs; the first is always needed.
    """
    idle = subprocess.list2cmdline(["/usr/bin/env", "-i", sys.executable, "-IS", "-c", "import signal; signal.pause()"])
    command = [_AGENT.sub(lambda match: match[1] + idle, argument) for argument in command]
    return [_PRESTARTED.sub("\\g<1>1", argument) for argument in command]


def main() -> None:
    """Ends when the driver does, or what Ray cannot be without, or what tells it to."""
    folder, cpus, store_bytes, driver = sys.argv[1], *map(int, sys.argv[2:])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != driver:  # it went before the tie was made
        os._exit(1)

    from ray._private import services
    from ray._private.node import Node  # what ray.init and `ray start` are made of; Ray is pinned
    from ray._private.parameter import RayParams
    from ray._raylet import persist_port  # type: ignore[attr-defined]

    class Head(Node):
        def start_api_server(self, **_: object) -> None:
            """Not at all: without a dashboard it is still a process, whose metrics everybody may read."""

        def start_raylet(self, *arguments: Any, **named: Any) -> None:
            """As it is, but for the agents that it would start."""
            for name in _PORTS_OF_AGENTS:
                persist_port(self._session_dir, self._node_id, name, NO_PORT)
            started = services.start_ray_process
            services.start_ray_process = lambda command, *rest, **others: started(lean(command), *rest, **others)
            try:
                super().start_raylet(*arguments, **named)
            finally:
                services.start_ray_process = started

    node = Head(
        RayParams(
            temp_dir=folder,
            num_cpus=cpus,
            object_store_memory=store_bytes,
            include_dashboard=False,
            include_log_monitor=False,  # type: ignore[arg-type]
            no_monitor=True,
        ),
        head=True,
        shutdown_at_exit=False,
        spawn_reaper=True,  # the kernel ends its processes with it
    )
    print(json.dumps({"address": node.address}), flush=True)
    fds: list[int] = []
    with contextlib.suppress(OSError):  # a kernel without them: every LOOK_S then
        fds += [os.pidfd_open(node.all_processes[name][0].process.pid) for name in _ESSENTIAL]
    while not (dead := [name for name, _ in node.dead_processes() if name in _ESSENTIAL]):  # type: ignore[no-untyped-call]
        select.select(fds, [], [], LOOK_S)
    print(f"{' and '.join(dead)} ended", flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()
