"""A file may show itself and nothing else: it starts no program, and opens, lists, writes and fetches nothing."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.checkout import ROOT
from schemas.errors import FAILURE_KINDS
from tests.support.decord2 import is_installed
from tests.support.hostile_files import KINDS, WRITTEN, write_canaries, write_hostile, write_hostile_names
from tests.support.trace import can_trace, offenses, traced

FILE_KINDS = {"malformed", "unknown_type", "no_frames", "truncated", "encrypted", "too_large"}
"""What a file may be to blame for. too_large: bytes that are dealt by chance may claim any number of pixels."""

pytestmark = pytest.mark.timeout(900)  # of the whole, on a machine that does other things too


@dataclass(frozen=True)
class Ran:
    """files: that try something. rows: of each, by (path, backend). connections: that the server on this machine saw.
    log: None where nothing could be traced."""

    folder: Path
    files: list[Path]
    rows: dict[tuple[str, str], list[Any]]
    connections: int
    changed: list[Path]
    log: Path | None


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Ran:
    whole = request.config.getoption("--whole")
    place = tmp_path_factory.mktemp("hostile")
    folder = place / "files"
    folder.mkdir()
    with listening() as (port, connections):
        canaries = write_canaries(folder)
        files = write_hostile(folder, port, seed=15, count=200 if whole else len(KINDS))
        if not whole:  # every kind all the same: under the suffix of its turn, and one more
            kept = {index for turn in range(len(KINDS)) for index in (turn * 10 + turn % 10, turn * 10 + 7)}
            for index, path in enumerate(files):
                if index not in kept:
                    path.unlink()
            files = [path for path in files if path.exists()]
        files += write_hostile_names(folder, port)
        before = {path: digest(path) for path in (*canaries, *files)}
        backends = ["pyav", *(["decord"] if is_installed() else [])]
        command = [sys.executable, "-m", "tests.support.decode_all", str(folder), *backends]
        log = place / "calls.log" if can_trace() else None
        done = subprocess.run(
            command if log is None else traced(command, log), cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=800
        )
        changed = [path for path, was in before.items() if not path.exists() or digest(path) != was]
        changed += [path for path in folder.iterdir() if path not in before]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    rows = {(line["path"], line["backend"]): line["rows"] for line in lines}
    return Ran(folder, files, rows, len(connections), changed, log)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def listening() -> Iterator[tuple[int, list[Any]]]:
    """A server's port and who connected to it."""
    connections: list[Any] = []

    def serve() -> None:
        while True:
            try:
                connections.append(server.accept())
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], connections
        server.shutdown(socket.SHUT_RDWR)


def test_each_is_a_typed_row_or_an_honest_picture_of_itself(ran: Ran, figure: Callable[[str], None]) -> None:
    shown = failed = 0
    for path in ran.files:
        assert ran.rows[str(path), "pyav"], path
    for (path, backend), rows in ran.rows.items():
        if Path(path).name.startswith("canary") and Path(path) not in ran.files:
            continue
        for kind, value in rows:
            if kind == "ok":
                red, green, blue = value
                assert green > red, (path, backend, value)  # a canary has no green, and what is the file's has
                assert green > blue, (path, backend, value)
                shown += 1
            else:
                assert kind in FILE_KINDS, (path, kind, value)
                assert kind in FAILURE_KINDS
                failed += 1
    figure(
        f"hostile files: {len(ran.files)}, of {len(KINDS)} kinds: {failed} typed rows, {shown} pictures of themselves"
    )


def test_the_canaries_would_be_seen(ran: Ran) -> None:
    """They can be read, and look like nothing else."""
    for name in ("canary.png", "canary.pdf", "canary.mp4", "canary.ts"):
        ((kind, (red, green, blue)),) = ran.rows[str(ran.folder / name), "pyav"]
        assert kind == "ok"
        assert min(red, blue) > 240
        assert green < 10


def test_nothing_is_written_and_nobody_is_called(ran: Ran) -> None:
    assert ran.changed == []
    assert ran.connections == 0
    assert not any((place / WRITTEN).exists() for place in (ran.folder, ROOT, Path.cwd()))


@pytest.mark.skipif(not can_trace(), reason="strace is not here, or may not trace: what decoders ask for is not seen")
def test_a_decoder_asks_for_nothing_but_its_libraries(ran: Ran, figure: Callable[[str], None]) -> None:
    assert ran.log is not None
    assert list(offenses(ran.log, ran.folder)) == []
    figure("hostile files: traced; no program started, no file opened by name, no address")
