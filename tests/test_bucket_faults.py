"""Every verb of a bucket comes to the right end, whatever its store does meanwhile: a proxy injects faults by seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from operators.store import retries
from operators.store.bucket import BucketStore
from operators.store.objects import Bucket
from schemas.errors import InputError
from tests.support.faulty_proxy import KINDS, FaultyProxy

RACERS = 8


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "LONGEST_S", 0.2)


@pytest.fixture(params=[0.05, 0.3])
def faults(request: pytest.FixtureRequest, proxy: FaultyProxy) -> Callable[[int], None]:
    """faults(seed): from then on."""
    return lambda seed: proxy.faults(request.param, seed, stall_s=1.5)


@pytest.mark.timeout(1800)
def test_files_are_put_listed_read_replaced_and_deleted(
    proxy: FaultyProxy, faults: Callable[[int], None], amount: Callable[[int, int], int]
) -> None:
    store = BucketStore(f"{proxy.new_bucket()}/out")
    faults(1)
    expected: dict[str, bytes] = {}
    for number in range(amount(12, 100)):
        key, data = f"a/{number:04d}", random.Random(number).randbytes(1 << number % 18)
        assert store.put_if_absent(key, data)
        assert not store.put_if_absent(key, b"another")
        there = store.stat(key)
        assert there is not None
        assert there.size_bytes == len(data)
        if number % 3 == 0:
            assert store.replace_if_same(key, data[::-1] + b"r", there.version)
            assert not store.replace_if_same(key, b"stale", there.version)
            data = data[::-1] + b"r"
        if number % 5 == 0:
            store.delete(key)
            assert store.stat(key) is None
        else:
            expected[key] = data
    assert store.list() == sorted(expected)
    assert {key: store.open(key).read() for key in expected} == expected


@pytest.mark.timeout(1800)
def test_exactly_one_of_racing_writers_wins_and_all_know_it(
    proxy: FaultyProxy, faults: Callable[[int], None], amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    stores = [BucketStore(proxy.new_bucket())] * RACERS
    races = amount(4, 100)
    faults(2)
    with ThreadPoolExecutor(RACERS) as racers:
        for race in range(races):
            key, start = f"{race}", Barrier(RACERS)

            def put(number: int, key: str = key, start: Barrier = start) -> bool:
                start.wait()
                return stores[number].put_if_absent(key, b"%d" % number)

            wins = list(racers.map(put, range(RACERS)))
            assert wins.count(True) == 1, (race, wins)
            assert stores[0].open(key).read() == b"%d" % wins.index(True)
            there = stores[0].stat(key)
            assert there is not None

            def replace(number: int, key: str = key, version: str = there.version, start: Barrier = start) -> bool:
                start.wait()
                return stores[number].replace_if_same(key, b"new %d" % number, version)

            wins = list(racers.map(replace, range(RACERS)))
            assert wins.count(True) == 1, (race, wins)
            assert stores[0].open(key).read() == b"new %d" % wins.index(True)
    injected = proxy.counts().injected
    figure(f"{races} races of {RACERS} to create and to replace: one winner each, under {dict(injected)}")


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_by_itself(proxy: FaultyProxy, kind: str) -> None:
    store = BucketStore(proxy.new_bucket())
    proxy.faults(0.5, 3, kinds=[kind], stall_s=1.5)
    for number in range(2):
        assert store.put_if_absent(f"{number}", b"mine" * 1000)
        assert store.open(f"{number}").read() == b"mine" * 1000
    assert store.list() == ["0", "1"]
    assert proxy.counts().injected[kind]


@pytest.mark.parametrize("data", [b"", b"some"])
def test_a_refusal_that_passes_says_nothing_about_an_object(proxy: FaultyProxy, data: bytes) -> None:
    bucket = Bucket(proxy.new_bucket())
    assert bucket.put("a", data)
    for seed in range(10):
        proxy.faults(0.3, seed, kinds=["403"])
        assert bucket.stat("a").size_bytes == len(data)
        assert bucket.read("a")[0] == data
    assert proxy.counts().injected["403"]


def test_a_large_object_goes_on_where_its_body_was_cut(proxy: FaultyProxy) -> None:
    address = proxy.new_bucket()
    data = random.Random(4).randbytes(30 << 20)
    proxy.put(f"{address}/large", data)
    proxy.counts(anew=True)
    proxy.faults(0.5, 5, kinds=["cut"])
    assert Bucket(address).read("large")[0] == data
    requests, received = proxy.received(f"{address}/large")
    assert requests > 4
    assert received < 1.2 * len(data)


def test_a_listing_of_many_pages_goes_on_where_it_broke_off(
    proxy: FaultyProxy, amount: Callable[[int, int], int]
) -> None:
    address = proxy.new_bucket()
    with ThreadPoolExecutor(8) as putting:
        client, name = proxy.client(), address.removeprefix("s3://")
        keys = [f"a/{number:05d}" for number in range(amount(1050, 3500))]
        list(putting.map(lambda key: client.put_object(Bucket=name, Key=key, Body=b""), keys))
    proxy.faults(0.5, 6)
    proxy.counts(anew=True)
    assert BucketStore(address).list() == keys
    counts = proxy.counts()
    assert counts.injected
    assert counts.requests[f"GET /{name}"] == -(-len(keys) // 1000) + sum(counts.injected.values())


def test_who_is_refused_for_good_is_told_so_soon(proxy: FaultyProxy) -> None:
    bucket = Bucket(proxy.new_bucket())
    proxy.faults(1.0, kinds=["403"])
    started = time.monotonic()
    with pytest.raises(InputError, match="status 403, AccessDenied"):
        bucket.put("a", b"")
    assert proxy.counts().injected == {"403": 6}
    assert time.monotonic() - started < 60
