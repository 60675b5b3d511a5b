"""The node's cache: one download for all processes, never half a file, bounded, and clear about a full disk."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from operators.store.inputs import cache as cache_module
from operators.store.inputs.cache import Cache, node_cache
from operators.store.inputs.opened_input import opened_input
from schemas.checkout import ROOT
from schemas.errors import InputError, SpecError, StoreLost
from tests.support.faulty_proxy import FaultyProxy

MB = 1 << 20


def pieces(seed: int, size: int, piece: int = MB) -> Iterator[bytes]:
    chance = random.Random(seed)
    for start in range(0, size, piece):
        yield chance.randbytes(min(piece, size - start))


def content(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


def held_bytes(cache: Cache) -> int:
    """Raises FileNotFoundError where one goes meanwhile."""
    return sum(path.stat().st_size for path in cache.folder.iterdir())


def has_part(cache: Cache) -> bool:
    """Of which something was written."""
    for path in cache.folder.glob("*.part"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size:
                return True
    return False


READING = """
import hashlib, random, sys
from operators.store.inputs.opened_input import opened_input
addresses = sys.argv[2:]
random.Random(sys.argv[1]).shuffle(addresses)
for address in addresses:
    with opened_input(address) as opened:
        print(address, hashlib.sha256(open(opened.fd, "rb", closefd=False).read()).hexdigest(), flush=True)
"""


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_processes_share_downloads_and_go_on_where_one_was_killed(
    proxy: FaultyProxy, rate: float, tmp_path: Path, amount: Callable[[int, int], int]
) -> None:
    """They read the same objects in orders of their own; one is killed in mid-download."""
    bucket = proxy.new_bucket()
    sizes = [0, 1, 300_000, *([6 * MB, 20 * MB] * amount(1, 6))]
    objects = {f"{bucket}/{number}": b"".join(pieces(number, size)) for number, size in enumerate(sizes)}
    for address, data in objects.items():
        proxy.put(address, data)
    proxy.counts(anew=True)
    proxy.faults(rate, 7, stall_s=1.2)
    command, count = [sys.executable, "-c", READING], amount(4, 8)
    readers = [
        subprocess.Popen([*command, str(seed), *objects], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for seed in range(count)
    ]
    cache = node_cache()
    deadline = time.monotonic() + 60
    while not has_part(cache):
        assert time.monotonic() < deadline
    os.kill(readers[0].pid, signal.SIGSTOP)  # wherever it is, it is there while others wait for it
    time.sleep(0.2)
    os.kill(readers[0].pid, signal.SIGKILL)
    printed = [reader.communicate(timeout=120)[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [-signal.SIGKILL, *[0] * (count - 1)]
    expected = {f"{address} {hashlib.sha256(data).hexdigest()}" for address, data in objects.items()}
    assert set(printed[0].splitlines()) <= expected
    assert [set(lines.splitlines()) for lines in printed[1:]] == [expected] * (count - 1)
    assert not list(cache.folder.glob("*.part"))
    if not rate:  # but for the one of which the killed process had a part
        again = [address for address in objects if proxy.received(address)[1] > len(objects[address]) * 1.05]
        assert len(again) <= 1


def test_who_is_killed_leaves_a_part_that_nobody_reads_and_the_next_removes(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100 * MB)

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * MB
            time.sleep(0.01)

    fork = multiprocessing.get_context("fork")
    victim = fork.Process(target=cache.fetched, args=("a", endless))
    victim.start()
    while not has_part(cache):
        time.sleep(0.01)
    assert cache.opened("a") is None
    victim.kill()
    victim.join()
    assert {path.suffix for path in cache.folder.iterdir()} == {".part", ".lock", ".slot"}
    other = Cache(tmp_path / "cache", 100 * MB)
    assert content(other.fetched("b", lambda: iter([b"b"]))) == b"b"
    assert {path.suffix for path in cache.folder.iterdir()} == {"", ".slot"}
    assert content(other.fetched("a", lambda: iter([b"short"]))) == b"short"


def test_what_a_killed_process_wrote_is_no_part_of_what_the_next_fetches(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100 * MB)
    path = cache.folder / f"{cache_module._hash('a')}.part"
    path.write_bytes(b"more than comes")
    cache._added_bytes = 0  # so that nobody looks what is abandoned
    assert content(cache.fetched("a", lambda: iter([b"few"]))) == b"few"


def test_a_part_that_is_swept_away_before_it_is_locked_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, flock, swept = Cache(tmp_path / "cache", 100 * MB), fcntl.flock, list[Path]()

    def late(handle: int, operation: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path.suffix == ".part" and not swept:
            swept.append(path)
            path.unlink()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert content(cache.fetched("a", lambda: iter([b"a"]))) == b"a"
    assert swept


def test_a_cache_smaller_than_what_is_asked_for(tmp_path: Path, amount: Callable[[int, int], int]) -> None:
    """Files go while others read them, and what is read is right all the same."""
    wrong: list[object] = []
    most: list[int] = []

    def read(number: int) -> None:
        cache, chance = Cache(tmp_path / "cache", 4 * MB), random.Random(number)
        for _ in range(amount(30, 500)):
            seed = chance.randrange(20)
            data = content(cache.fetched(f"{seed}", lambda seed=seed: pieces(seed, MB >> 1, MB >> 3)))  # type: ignore[misc]
            if data != b"".join(pieces(seed, MB >> 1, MB >> 3)):
                wrong.append((number, seed))
            try:
                most.append(held_bytes(cache))
            except FileNotFoundError:
                continue

    fork = multiprocessing.get_context("fork")
    others = [fork.Process(target=read, args=(number,)) for number in range(3)]
    for other in others:
        other.start()
    read(3)
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0, 0]
    assert not wrong
    assert max(most) <= 6 * MB


def test_downloads_that_fill_it_together_go_one_at_a_time(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 8 * MB)
    most: list[int] = []
    done = Event()

    def watch() -> None:
        while not done.is_set():
            try:
                most.append(held_bytes(cache))
            except FileNotFoundError:
                continue

    watcher = Thread(target=watch)
    watcher.start()

    def read(number: int) -> None:
        own = Cache(tmp_path / "cache", 8 * MB)
        fetched[number] = content(own.fetched(f"{number}", lambda: pieces(number, 7 * MB, MB >> 3)))

    fetched: dict[int, bytes] = {}
    threads = [Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert fetched == {number: b"".join(pieces(number, 7 * MB, MB >> 3)) for number in range(8)}
    assert max(most) <= 16 * MB


def test_a_file_larger_than_the_cache_is_too_large(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 2 * MB)
    with pytest.raises(InputError, match="the cache of this node holds 2 MB") as caught:
        cache.fetched("a", lambda: pieces(1, 3 * MB))
    assert caught.value.kind == "too_large"
    with pytest.raises(InputError, match="SIGHTREAD_CACHE_MB"):
        cache.fetched("a", lambda: pytest.fail("nothing is asked for"), 3 * MB)
    assert content(cache.fetched("b", lambda: iter([b"b"]))) == b"b"
    assert {path.suffix for path in cache.folder.iterdir()} == {"", ".slot"}


def test_a_full_disk_gives_up_what_is_not_read_and_then_says_so(small_disk: Path) -> None:
    cache = Cache(small_disk / "cache", 100 * MB)
    for number in range(20):  # five times what the disk holds
        assert content(cache.fetched(f"{number}", lambda: pieces(1, 64 << 10, 4096))) == b"".join(
            pieces(1, 64 << 10, 4096)
        )
    with pytest.raises(StoreLost, match=rf"^SIGHTREAD_CACHE: {cache.folder.parent} takes nothing .*No space left"):
        cache.fetched("large", lambda: pieces(1, MB))
    with pytest.raises(StoreLost, match="No space left"):
        cache.copied(pieces(1, MB))
    assert not list(cache.folder.glob("*.part"))
    assert content(cache.copied((b"b", memoryview(b"")))) == b"b"
    assert content(cache.fetched("b", lambda: iter([b"b"]))) == b"b"


def test_a_folder_of_another_or_for_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared").mkdir(mode=0o777)
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(SpecError, match="is not a folder that this user alone writes to"):
        Cache(tmp_path / "shared", MB)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SpecError, match="is not a folder"):
        Cache(tmp_path / "link", MB)
    if os.geteuid() == 0:
        (tmp_path / "theirs").mkdir(mode=0o700)
        os.chown(tmp_path / "theirs", 12345, -1)
        with pytest.raises(SpecError, match="this user alone"):
            Cache(tmp_path / "theirs", MB)
    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "shared"))
    with pytest.raises(StoreLost, match="this user alone"):
        node_cache()
    monkeypatch.setenv("SIGHTREAD_CACHE", "/proc/nowhere")
    with pytest.raises(StoreLost, match=r"^SIGHTREAD_CACHE: /proc/nowhere cannot be used"):
        node_cache()


def test_what_an_earlier_boot_left_is_removed_after_a_while(tmp_path: Path) -> None:
    Cache(tmp_path / "cache", MB)
    old, other, strange = (
        tmp_path / "cache" / name
        for name in (f"{'0' * 8}-0000-0000-0000-{'0' * 12}", f"{'1' * 8}-1111-1111-1111-{'1' * 12}", "mine")
    )
    for folder in (old, other, strange):
        folder.mkdir()
        (folder / "file").write_bytes(b"x")
    for folder in (old, strange):
        os.utime(folder, (0, 0))
    Cache(tmp_path / "cache", MB)
    assert (old.exists(), other.exists(), strange.exists()) == (False, True, True)


def test_a_long_download_shows_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache_module, "PROGRESS_S", 0.0)
    caplog.set_level(logging.INFO)
    cache = Cache(tmp_path / "cache", 100 * MB)
    os.close(cache.fetched("https://host/film.mp4?signature=planted\n1", lambda: pieces(1, 3 * MB)))
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        f"https://host/film.mp4: {number} MB are fetched" for number in (1, 2, 3)
    ]


def test_a_cache_that_cannot_be_used_is_no_fault_of_an_input(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = f"{proxy.new_bucket()}/a"
    proxy.put(address, b"a")
    monkeypatch.setenv("SIGHTREAD_CACHE", "/proc/nowhere")
    with pytest.raises(StoreLost, match="cannot be used"), opened_input(address):
        pass
