"""Whole jobs from a bucket into a bucket, behind a proxy that injects faults, with everything killed that can be: the
same command until it reports completion, and then a count by nobody of ours, with boto3 and pyarrow alone: of the rows
that readers see, and of the log that they were made from."""

from __future__ import annotations

import io
import os
import random
import signal
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.demo_media import encode_clip
from tests.support.faulty_proxy import FaultyProxy
from tests.support.object_server import S3Server
from tests.support.world import World, write_pdf, write_recording

pytestmark = pytest.mark.slow

FAULTS = 0.05
REPLY = '{"shows": "{sample}, unit {unit}"}'
OUTPUT = {"type": "object", "properties": {"shows": {"type": "string"}}, "required": ["shows"]}
CLIP_S = 1
VICTIMS = {
    "driver": "jobs.cli run",
    "raylet": "/raylet/raylet ",
    "decode actor": "ray::MapWorker(MapBatches(Decode))",
    "infer actor": "ray::MapWorker(MapBatches(Infer))",
    "engine child": "operators.infer.engine_child",
    "committer": "ray::MapWorker(MapBatches(Commit))",
}
RESULTS, LOG = "results", "_job/parts"
ATTEMPTS = 12
"""Starts of the command within which a job has to be complete."""


@dataclass
class Ended:
    """What became of a run: 0 of the last three, or something is broken."""

    starts: int = 0
    killed: list[str] = field(default_factory=list)
    lost: int = 0
    duplicate: int = 0
    unreadable: int = 0
    wrong: int = 0
    wall_s: float = 0.0


def draw_inputs(folder: Path, bucket: str, proxy: S3Server, units: int) -> Counter[str]:
    """About 40 % pages, 40 % pictures, 10 % clips, 10 % members of shards: base name -> units."""
    folder.mkdir()
    expected: Counter[str] = Counter()

    def put(name: str, data: bytes) -> None:
        proxy.put(f"{bucket}/in/{name}", data)

    for number in range(max(1, units * 4 // 10 // 20)):
        name, pages = f"{number}.pdf", min(20, units * 4 // 10)
        put(name, write_pdf(folder / name, pages).read_bytes())
        expected[name] = pages
    for number in range(max(1, units // 10 // 5)):
        name, clips = f"{number}.mp4", min(5, units // 10)
        frames = [Image.new("RGB", (64, 48), (frame * 20, number, 99)) for frame in range(clips * 4)]
        encode_clip(folder / name, frames, 4)
        put(name, (folder / name).read_bytes())
        expected[name] = clips
    for shard in range(max(1, units // 10 // 25)):
        members, tar = min(25, units // 10), io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as file:
            for number in range(members):
                name = f"{shard}-{number}.png"
                data = _picture(number)
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
                expected[name] = 1
        put(f"{shard}.tar", tar.getvalue())
    for number in range(units - expected.total()):
        put(f"{number}.png", _picture(number))
        expected[f"{number}.png"] = 1
    return expected


def _picture(number: int) -> bytes:
    png = io.BytesIO()
    Image.new("RGB", (48, 32), (number % 256, number // 256, 99)).save(png, "PNG")
    return png.getvalue()


def run_with_kills(world: World, client: Any, parts: int, victims: list[str], seed: int) -> Ended:
    """Start the command until it ends well; meanwhile kill each victim once, when so many parts are there. client:
    boto3's. parts: that a run has at last."""
    chance, ended = random.Random(seed), Ended()
    points = sorted(chance.uniform(0.02, 0.6) * parts for _ in victims)
    schedule = list(zip(points, chance.sample(victims, len(victims)), strict=True))
    started_s = time.monotonic()
    while ended.starts < ATTEMPTS:
        ended.starts += 1
        run = world.start()
        while run.poll() is None:
            time.sleep(0.2)
            if schedule and len(keys_below(client, world, LOG)) >= schedule[0][0]:
                time.sleep(chance.random() / 2)
                needle = VICTIMS[schedule[0][1]]
                pids = [run.pid] if schedule[0][1] == "driver" else list(world.processes(needle))
                for pid in pids[:1]:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    ended.killed.append(schedule.pop(0)[1])
        text = run.communicate()[0]
        if run.returncode == 0:
            break
        assert ended.killed, text  # nothing but a kill ends it
        world.nothing_left()
    else:
        pytest.fail(f"not complete after {ATTEMPTS} starts: {text}")
    ended.wall_s = time.monotonic() - started_s
    return ended


def keys_below(client: Any, world: World, place: str) -> list[str]:
    bucket, _, folder = str(world.spec["output"]).removeprefix("s3://").partition("/")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/{place}/")
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def count(client: Any, world: World, place: str, expected: Counter[str], ended: Ended) -> None:
    """Every row of every file there: by boto3 and pyarrow. Adds to what ended comes to."""
    bucket = str(world.spec["output"]).split("/")[2]
    rows: Counter[tuple[str, int]] = Counter()
    for key in keys_below(client, world, place):
        body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        try:
            table = pq.ParquetFile(io.BytesIO(body)).read(["input_uri", "unit_index", "status", "text"])
        except (pa.ArrowException, OSError):
            ended.unreadable += 1
            continue
        for row in table.to_pylist():
            name = row["input_uri"].rpartition("#")[2].rpartition("/")[2]
            rows[name, row["unit_index"]] += 1
            reply = REPLY.replace("{sample}", name).replace("{unit}", str(row["unit_index"]))
            ended.wrong += (row["status"], row["text"]) != ("ok", reply)
    planned = {(name, unit) for name, units in expected.items() for unit in range(units)}
    ended.lost += len(planned - rows.keys())
    ended.duplicate += rows.total() - len(rows)
    ended.wrong += len(rows.keys() - planned)


@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_doubled_whatever_fails_and_whatever_is_killed(
    world: World,
    proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
    amount: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    monkeypatch.setenv("SIGHTREAD_STORE_TIMEOUT_S", "3")
    bucket, units, chunk_units = proxy.new_bucket(), amount(60, 1000), amount(4, 10)
    expected = draw_inputs(world.folder / "drawn", bucket, proxy, units)
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": REPLY, "delay_s": 0.3})
    world.spec |= {
        "inputs": [f"{bucket}/in/", f"{bucket}/in/*.tar"],
        "tasks": [{"name": "look", "prompt": "What does it show?", "output": OUTPUT}],
        "decode": {"video_clip_s": CLIP_S, "workers": 1},
        "limits": {"chunk_units": chunk_units},
    }
    world.spec["engine"]["slots"] = amount(4, 16)
    client = proxy.behind.client()  # of the server itself, without faults
    runs = []
    for seed in range(amount(1, 10)):
        victims = random.Random(seed).sample(list(VICTIMS), amount(2, len(VICTIMS)))
        world.spec["output"] = f"{bucket}/out-{seed}"
        world.variables["SIGHTREAD_CACHE"] = str(world.folder / f"cache-{seed}")
        proxy.faults(FAULTS, seed, stall_s=4)
        proxy.counts(anew=True)
        ended = run_with_kills(world, client, units // chunk_units, victims, seed)
        injected = proxy.counts().injected
        for place in (RESULTS, LOG):
            count(client, world, place, expected, ended)
        figure(f"run {seed}: {units} units, {ended}, faults {injected}")
        runs.append(ended)
        assert ended.killed
        assert (ended.lost, ended.duplicate, ended.unreadable, ended.wrong) == (0, 0, 0, 0), ended
    kills = sum(len(ended.killed) for ended in runs)
    figure(f"{len(runs)} runs of {units} units, {kills} kills: 0 lost, 0 doubled, 0 unreadable")
    world.nothing_left()
