"""The fixtures that several files of tests share. Loads nothing heavy: most tests need no world."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.azurite import Azurite
    from tests.support.faulty_proxy import FaultyProxy
    from tests.support.object_server import S3Server
    from tests.support.world import World


@pytest.fixture(autouse=True)
def _usual_priority() -> Iterator[None]:
    """A library that makes the suite a process of real time starves all that later tests start: for minutes, and far
    from where it was called."""
    yield
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        pytest.fail("this test left the suite with real-time priority")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    from tests.support.world import opened

    with opened(tmp_path) as world:
        yield world


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The current folder; runs start no Ray."""
    from tests.support.in_process import InProcess

    monkeypatch.setattr("pipelines.running.Cluster", InProcess)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def s3_process() -> Iterator[S3Server]:
    from tests.support.object_server import s3_server

    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_process: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """A real S3 server, in the environment of this test and of what it starts."""
    variables = {**s3_process.environment, "SIGHTREAD_CACHE": str(tmp_path / "cache"), "SIGHTREAD_CACHE_MB": "1000"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return s3_process


@pytest.fixture(scope="session")
def proxy_process(s3_process: S3Server) -> Iterator[FaultyProxy]:
    from tests.support.faulty_proxy import faulty_proxy

    with faulty_proxy(s3_process) as proxy:
        yield proxy


@pytest.fixture
def proxy(s3: S3Server, proxy_process: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Before that server, without faults as yet; in the environment instead of it. Clients do not wait long."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy_process.endpoint)
    monkeypatch.setenv("SIGHTREAD_STORE_TIMEOUT_S", "1")
    proxy_process.faults()
    proxy_process.counts(anew=True)
    yield proxy_process
    proxy_process.faults()


@pytest.fixture(scope="session")
def azurite_process() -> Iterator[Azurite]:
    from tests.support.azurite import SERVER, azurite

    if not SERVER.exists():
        pytest.skip("Azurite is not installed: scripts/setup-azurite does that")
    with azurite() as server:
        yield server


@pytest.fixture
def azure(azurite_process: Azurite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Azurite:
    """A server of Azure Blob Storage, in the environment of this test and of what it starts."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite_process.connection_string)
    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIGHTREAD_CACHE_MB", "1000")
    return azurite_process


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


_FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="the whole numbers of tests that run small otherwise")


@pytest.fixture
def amount(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """amount(small, whole): how many cases a test goes through; all of them with --whole."""
    return lambda small, whole: whole if request.config.getoption("--whole") else small


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """figure(text): a line that stands at the end of what the tests print."""
    return request.config.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in terminalreporter.config.stash.get(_FIGURES, []):
        terminalreporter.write_line(line)
