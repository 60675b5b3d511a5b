"""Wherever the same files lie, the same rows come of them, but for addresses and what is derived from them."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.demo_media import encode_clip
from jobs.load import parse
from pipelines.job import prepare
from pipelines.local import answer
from tests.support.object_server import S3Server
from tests.support.world import write_image, write_pdf, write_recording

REPLY = '{"shows": "{sha256} {unit} {request}"}'
"""The hash of the picture that the engine was shown."""
OUTPUT = {"type": "object", "properties": {"shows": {"type": "string"}}, "required": ["shows"]}
DERIVED = {"input_id", "input_uri", "chunk_id", "spec_sha256"}
"""From the address."""
TIMES = {"decode_s", "infer_s"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    write_image(folder / "a.png", "One")
    write_image(folder / "b.gif", frames=3)
    encode_clip(folder / "c.mp4", [Image.new("RGB", (64, 48), (9, shade * 20, 99)) for shade in range(12)], 4)
    write_pdf(folder / "d.pdf", pages=3)
    (folder / "e.png").write_bytes((folder / "a.png").read_bytes()[:60])  # known by its first bytes alone too
    return folder


def rows(inputs: str, folder: Path, *, by_name: bool) -> list[dict[str, Any]]:
    """by_name: one file has a reply of its own, by its name."""
    line = {"sample": "*", "task": "*", "reply": REPLY}
    named = {**line, "sample": "a.png", "reply": REPLY.replace("{unit}", "by its name")}
    write_recording(folder / "replies.jsonl", line, *([named] if by_name else []))
    spec = {
        "name": "test",
        "inputs": [inputs],
        "tasks": [{"name": "look", "prompt": "What does it show?", "output": OUTPUT}],
        "engine": {"kind": "scripted", "recording": str(folder / "replies.jsonl")},
        "decode": {"video_clip_s": 1.0, "workers": 1},
        "output": str(folder / "out"),
    }
    return list(answer(prepare(parse(spec, "test"))))


def in_bucket(s3: S3Server, files: Path) -> str:
    bucket = s3.new_bucket()
    for path in files.iterdir():
        s3.put(f"{bucket}/some/where/{path.name}", path.read_bytes())
    return f"{bucket}/some/where/"


def shards(s3: S3Server, files: Path) -> str:
    """In two, so that order counts."""
    bucket, paths = s3.new_bucket(), sorted(files.iterdir())
    for number, some in enumerate((paths[:2], paths[2:])):
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as shard:
            for path in some:
                shard.add(path, path.name)
        s3.put(f"{bucket}/shard-{number}.tar", tar.getvalue())
    return f"{bucket}/shard-{{0..1}}.tar"


def cells(s3: S3Server, files: Path) -> str:
    """As Hugging Face writes them: the names beside the bytes say what a broken file should be."""
    pictures = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(files.iterdir())]
    pq.write_table(pa.table({"image": pictures}), file := io.BytesIO(), row_group_size=2)
    address = f"{s3.new_bucket()}/table.parquet"
    s3.put(address, file.getvalue())
    return address


PLACES: dict[str, Callable[[S3Server, Path], str]] = {
    "bucket": in_bucket,
    "shards": shards,
    "cells": cells,
}


@pytest.mark.parametrize("place", PLACES)
def test_the_same_rows_come_of_the_same_files(s3: S3Server, files: Path, tmp_path: Path, place: str) -> None:
    by_name = place != "cells"
    here = rows(str(files), tmp_path, by_name=by_name)
    there = rows(PLACES[place](s3, files), tmp_path, by_name=by_name)
    assert Counter((row["unit_kind"], row["status"]) for row in here) == {
        ("image", "ok"): 4,
        ("clip", "ok"): 3,
        ("page", "ok"): 3,
        ("image", "unreadable_input"): 1,
    }
    assert len({row["text"] for row in here}) == 11
    differ = {name for one, other in zip(here, there, strict=True) for name in one if one[name] != other.get(name)}
    assert differ - TIMES == DERIVED
    assert {name for row in there for name in row} - {"image_path"} == {name for row in here for name in row}
