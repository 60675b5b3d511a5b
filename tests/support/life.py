"""The inputs of an output that lives: drawn, joined by others, changed and taken away; and what its results have to be
then, counted from what was drawn and with none of our code that counts, plans or reads.
"""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
from PIL import Image

from jobs.demo_media import Line, pdf_bytes

DOOMED = "doomed"
"""In the name of an input whose first ask of each task fails."""
MOST_DOOMED = 60
REPLY = '{"shows": "{task} of {sample}, unit {unit}: {sha256}"}'


class Place(Protocol):
    """Where inputs and output lie, without any of our stores."""

    inputs: str
    output: str

    def put(self, name: str, data: bytes) -> None:
        """An input."""

    def remove(self, name: str) -> None:
        """An input."""

    def keys(self, folder: str) -> dict[str, str]:
        """Of the output below a folder, with what changes whenever a file is replaced."""

    def files(self, folder: str) -> list[Path]:
        """The same files, here."""


class Folder:
    def __init__(self, inputs: Path, output: Path) -> None:
        self.inputs, self.output = f"{inputs}/", str(output)
        inputs.mkdir(exist_ok=True)

    def put(self, name: str, data: bytes) -> None:
        (Path(self.inputs) / name).write_bytes(data)

    def remove(self, name: str) -> None:
        (Path(self.inputs) / name).unlink()

    def keys(self, folder: str) -> dict[str, str]:
        found = {}
        for path in Path(self.output, folder).rglob("*"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            if path.is_file():
                found[str(path.relative_to(self.output))] = f"{stat.st_ino}-{stat.st_mtime_ns}"
        return found

    def files(self, folder: str) -> list[Path]:
        return sorted(Path(self.output, folder).rglob("*.parquet"))


class BucketPlace:
    """client: boto3's."""

    def __init__(self, client: Any, bucket: str, output: str, copies: Path) -> None:
        self.inputs, self.output = f"{bucket}/in/", f"{bucket}/{output}"
        self._client, self._bucket, self._folder = client, bucket.removeprefix("s3://"), output
        self._copies = copies

    def put(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=f"in/{name}", Body=data)

    def remove(self, name: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=f"in/{name}")

    def keys(self, folder: str) -> dict[str, str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._folder}/{folder}/"
        )
        entries = [entry for page in pages for entry in page.get("Contents", [])]
        return {entry["Key"].removeprefix(f"{self._folder}/"): entry["ETag"] for entry in entries}

    def files(self, folder: str) -> list[Path]:
        copies = []
        for key in sorted(self.keys(folder)):
            if key.endswith(".parquet"):
                copy = self._copies / key
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(
                    self._client.get_object(Bucket=self._bucket, Key=f"{self._folder}/{key}")["Body"].read()
                )
                copies.append(copy)
        return copies


@dataclass
class Ended:
    """What a count found: 0 of all of these, or something is broken."""

    lost: int = 0
    duplicate: int = 0
    unexpected: int = 0
    old: int = 0
    wrong: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        return not (self.lost or self.duplicate or self.unexpected or self.old or self.wrong)


@dataclass
class Drawn:
    """units: of its version. gone: it was taken away."""

    units: int
    version: int = 1
    gone: bool = False


class Life:
    """asked: by task and input, the round that last asked for it, as this count has it, and how many units there were
    then to be asked about."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.inputs: dict[str, Drawn] = {}
        self.tasks: list[str] = []
        self.asked: dict[tuple[str, str], int] = {}
        self.rounds = 0
        self.most_asks = 0
        self._chance = random.Random(seed)
        self._texts: dict[tuple[str, int], dict[int, str]] = {}
        self._number = self._doomed = 0

    def draw(self, units: int) -> None:
        """Further inputs: half of the units are pages, the others pictures, of which one in eight is doomed."""
        pages_left = units // 2
        while pages_left:
            pages = min(pages_left, self._chance.randint(1, 9))
            pages_left -= pages
            self._put(f"{self._number}.pdf", Drawn(pages))
        for number in range(units - units // 2):
            if number % 8 == 1 and self._doomed < MOST_DOOMED:
                self._put(f"{DOOMED}-{self._doomed}.png", Drawn(1))
                self._doomed += 1
            else:
                self._put(f"{self._number}.png", Drawn(1))

    def change(self, inputs: int) -> list[str]:
        """Others of the same names; the first of them has less pages than before, the second more."""
        some = self._chance.sample([name for name in self.inputs if name.endswith(".pdf")], inputs - 1)
        some.append(next(name for name in self.inputs if name.endswith(".png") and DOOMED not in name))
        for place, name in enumerate(some):
            drawn = self.inputs[name]
            more = 0 if name.endswith(".png") else (2 if place % 2 or drawn.units == 1 else -1)
            self._put(name, Drawn(drawn.units + more, drawn.version + 1))
        return some

    def take_away(self, inputs: int, but: Iterable[str]) -> list[str]:
        names = [name for name in self.inputs if DOOMED not in name and name not in set(but)]
        gone = self._chance.sample(names, inputs)
        for name in gone:
            self.inputs[name].gone = True
            self.place.remove(name)
        return gone

    def round(self, tasks: Iterable[str], names: Iterable[str]) -> None:
        """A round asks some tasks about some inputs."""
        names = list(names)
        for task in tasks:
            for name in names:
                self.asked[task, name] = self.rounds
                self.most_asks += self.inputs[name].units
        self.rounds += 1

    def names(self) -> list[str]:
        return list(self.inputs)

    def lines(self, folder: Path, delay_s: float) -> list[dict[str, Any]]:
        """The recording, for all tasks that there will be."""
        same = {"asked_log": str(folder / "asked"), "delay_s": delay_s}
        lines: list[dict[str, Any]] = [{"sample": "*", "task": "*", "reply": REPLY, **same}]
        for task in ("look", "count"):
            lines += [
                {
                    "sample": f"{DOOMED}-{number}.png",
                    "task": task,
                    "reply": "",
                    "fault": "error",
                    "once": str(folder / f"once-{task}-{number}"),
                    **same,
                }
                for number in range(MOST_DOOMED)
            ]
        return lines

    # counting

    def count(self, attempts: Mapping[tuple[str, str], int], *, all_ok: bool) -> Ended:
        """attempts: those of (task, input) that are more than 1. all_ok: whether nothing is left that failed."""
        ended = Ended()
        for task in self.tasks:
            self._count_task(task, attempts, all_ok, ended)
        return ended

    def _count_task(self, task: str, attempts: Mapping[tuple[str, str], int], all_ok: bool, ended: Ended) -> None:
        rows = self.rows(task)
        seen: Counter[tuple[str, int, int]] = Counter()
        units: Counter[str] = Counter()
        for row in rows:
            name = row["input_uri"].rpartition("/")[2]
            seen[name, row["unit_index"], row["request_index"]] += 1
            units[name] += 1
            drawn = self.inputs.get(name)
            if drawn is None:
                ended.unexpected += 1
                continue
            ended.old += self._is_old(task, name, row, attempts, ended)
            ended.wrong += self._is_wrong(task, name, row, all_ok, ended)
        ended.duplicate += seen.total() - len(seen)
        for name, drawn in self.inputs.items():
            if drawn.gone and units[name]:  # asked about before, or found to be missing
                continue
            ended.lost += len({(name, unit, 0) for unit in range(drawn.units)} - seen.keys())
            ended.unexpected += len(
                {key for key in seen if key[0] == name} - {(name, u, 0) for u in range(drawn.units)}
            )

    def _is_old(
        self, task: str, name: str, row: dict[str, Any], attempts: Mapping[tuple[str, str], int], ended: Ended
    ) -> bool:
        expected = self.asked[task, name], attempts.get((task, name), 1)
        is_old = (row["generation"], row["attempt"]) != expected and not self.inputs[name].gone
        if is_old:
            ended.notes.append(f"{task}/{name}: {row['generation']}, {row['attempt']} for {expected}")
        return is_old

    def _is_wrong(self, task: str, name: str, row: dict[str, Any], all_ok: bool, ended: Ended) -> bool:
        """Whether a row says what it cannot. A version of an input has one picture for all tasks and attempts, and no
        other version has the same."""
        drawn, unit = self.inputs[name], row["unit_index"]
        if row["status"] != "ok":
            failed = drawn.gone or (DOOMED in name and not all_ok)
            if not failed:
                ended.notes.append(f"{task}/{name}/{unit}: {row['status']}: {row['error']}")
            return not failed
        prefix = REPLY.replace("{task}", task).replace("{sample}", name).replace("{unit}", str(unit))
        start, _, digest = row["text"].removesuffix('"}').rpartition(" ")
        versions = self._texts.setdefault((name, unit), {})
        others = [there for version, there in versions.items() if version != drawn.version]
        wrong = (
            start != prefix.rpartition(" ")[0]
            or len(digest) != 64
            or (row["unit_count"] != drawn.units and not drawn.gone)
            or (versions.setdefault(drawn.version, digest) != digest)
            or digest in others
        )
        if wrong:
            ended.notes.append(f"{task}/{name}/{unit}: {row['text']!r}, of {row['unit_count']} units")
        return wrong

    def rows(self, task: str) -> list[dict[str, Any]]:
        """By DuckDB, from all files of a task."""
        files = [str(path) for path in self.place.files(f"results/task={task}")]
        if not files:
            return []
        columns = "input_uri, unit_index, unit_count, request_index, generation, attempt, status, error, text"
        with duckdb.connect() as db:
            table: pa.Table = db.sql(f"select {columns} from read_parquet({files})").to_arrow_table()
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def failed(self) -> set[tuple[str, str]]:
        """(task, input) of what failed, and is there to be asked again."""
        return {
            (task, name)
            for task in self.tasks
            for row in self.rows(task)
            if row["status"] != "ok" and not self.inputs[name := row["input_uri"].rpartition("/")[2]].gone
        }

    def _put(self, name: str, drawn: Drawn) -> None:
        self.inputs[name] = drawn
        self.place.put(name, _picture(self._number, drawn) if name.endswith(".png") else _document(name, drawn))
        self._number += 1


def _document(name: str, drawn: Drawn) -> bytes:
    return pdf_bytes(
        tuple((Line(f"Page {page} of {name}, version {drawn.version}"),) for page in range(1, drawn.units + 1))
    )


def _picture(number: int, drawn: Drawn) -> bytes:
    png = io.BytesIO()
    Image.new("RGB", (48 + 32 * drawn.version, 32), (number % 256, number // 256, 99)).save(png, "PNG")
    return png.getvalue()
