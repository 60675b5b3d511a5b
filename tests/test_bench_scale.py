"""`sightread bench scale` in small: what it measures of real processes, and what it reckons from that."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from jobs.bench.scale import measure
from jobs.bench.scale_inputs import link_pictures, put_pictures, small_picture, write_pages
from jobs.bench.scale_meter import (
    ALL_STAGES,
    COMMIT,
    DECODE,
    DECODER,
    DRIVER,
    ENGINE,
    INFER,
    OTHERS,
    PROBE,
    RAY,
    SOURCE,
    Ran,
    Tree,
    measured,
    written,
)
from jobs.bench.scale_report import Driver, Figures, around_engine_ms, comparisons, drivers, show, unit_ms
from jobs.bench.scale_rounds import FIRST_ASK, FIRST_ROW, RUN, Checkout, Grown, Rounds, Single, Unit
from jobs.cli import main
from jobs.command import Command
from operators.store.store import sizes
from schemas.errors import SightreadError
from tests.support.object_server import S3Server

BURN = """
import os, sys, subprocess
def burn(seconds):
    while sum(os.times()[:2]) < seconds:
        pass
def child(name, code):  # which stands in its command line, as the module of a child of ours does
    return subprocess.Popen([sys.executable, "-c", code, name], env={**os.environ, "BURN": CODE})
CODE = os.environ["BURN"]
"""


def test_cpu_is_that_of_a_process_and_of_all_it_started_by_part(tmp_path: Path) -> None:
    """One child is waited for and over in less time than lies between two looks, one is never waited for."""
    code = BURN + (
        "exec_ = 'import os; exec(os.environ[\"BURN\"]); '\n"
        "engine = child('engine_child', exec_ + 'burn(0.5); import time; time.sleep(600)')\n"
        "for _ in range(4): child('decoder_child', exec_ + 'burn(0.12)').wait()\n"
        "burn(0.7)\n"
        "hoard = bytearray(64 << 20)\n"
        "open(sys.argv[1], 'w').write('here')\n"
        "import time; time.sleep(1)\n"
        "print(*os.times()[:4])\n"
    )
    ran = measured(
        [sys.executable, "-c", code, str(tmp_path / "sign")],
        cwd=tmp_path,
        log=tmp_path / "log",
        signs={"sign": written(tmp_path / "sign"), "never": lambda: None},
        environment={**os.environ, "BURN": BURN},
    )
    user, system, waited_user, waited_system = map(float, (tmp_path / "log").read_text().split())
    assert ran.driver_s == pytest.approx(user + system, abs=0.05)
    assert ran.cpu_s[PROBE] == pytest.approx(waited_user + waited_system, abs=0.05), "decoders of a driver are probes"
    assert ran.cpu_s[PROBE] >= 4 * 0.12
    assert ran.cpu_s[ENGINE] >= 0.5
    assert ran.around_engine_s == pytest.approx(ran.driver_s + ran.cpu_s[PROBE] + ran.cpu_s.get(OTHERS, 0.0))
    assert ran.driver_mb > 64
    assert list(ran.seen) == ["sign"]
    assert 0 < ran.seen["sign"] < ran.seconds


@pytest.mark.parametrize(
    ("worker", "child", "parts"),
    [
        ("ray::ReadChunks", "operators.media.decoder_child", {SOURCE, PROBE}),
        ("ray::MapWorker(MapBatches(Decode))", "operators.media.decoder_child", {DECODE, DECODER}),
        ("ray::MapWorker(MapBatches(Infer)).submit", "operators.infer.engine_child", {INFER, ENGINE}),
        ("ray::MapWorker(MapBatches(Commit))", "operators.processes.orphan_reaper", {COMMIT, OTHERS}),
        ("ray::MapWorker(MapBatches(AllStages))", "operators.media.decoder_child", {ALL_STAGES, DECODER}),
        ("ray::IDLE", "/lib/ray/core/src/ray/gcs_server", {RAY}),
    ],
)
def test_a_process_is_told_by_its_title_and_by_what_started_it(worker: str, child: str, parts: set[str]) -> None:
    """Below the driver, which starts a worker, which starts a child."""
    spawn = {
        "DRIVER": 'bash -c \'eval "$WORKER"\' "$TITLE" & wait',
        "WORKER": '(exec -a "$CHILD" sleep 60) & wait',
    }
    environment = {**os.environ, **spawn, "TITLE": worker, "CHILD": child}
    with subprocess.Popen(["bash", "-c", 'eval "$DRIVER"'], env=environment, start_new_session=True) as driver:
        try:
            tree = Tree(driver.pid)
            for _ in range(600):
                tree.sample()
                if {DRIVER, *parts} == (seen := {process.part for process in tree._processes.values()}):
                    break
                time.sleep(0.05)
            assert seen == {DRIVER, *parts}
        finally:
            os.killpg(driver.pid, signal.SIGKILL)


def test_a_command_that_fails_says_its_last_words_and_one_that_hangs_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SightreadError, match="ended with 3: no such thing"):
        measured([sys.executable, "-c", "print('no such thing'); exit(3)"], cwd=tmp_path, log=tmp_path / "log")
    monkeypatch.setattr("jobs.bench.scale_meter._LEAVE_S", 0.2)
    hang = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); "
    hang += "time.sleep(600)"
    with pytest.raises(SightreadError, match="had not ended after"):
        measured([sys.executable, "-c", hang], cwd=tmp_path, log=tmp_path / "log", limit_s=1)
    assert not Path(f"/proc/{int((tmp_path / 'log').read_text())}").exists()


def test_inputs_are_links_of_one_picture_and_pages_whose_replies_are_their_text(tmp_path: Path) -> None:
    link_pictures(tmp_path / "pictures", 1003)
    files = list((tmp_path / "pictures").rglob("*.png"))
    assert len(files) == 1003
    assert len({file.stat().st_ino for file in files}) == 1
    write_pages(tmp_path / "pages", 27, tmp_path / "replies")
    write_pages(tmp_path / "fewer", 3, tmp_path / "fewer-replies")
    replies = [json.loads(line) for line in (tmp_path / "replies").read_text().splitlines()]
    fewer = [json.loads(line) for line in (tmp_path / "fewer-replies").read_text().splitlines()]
    assert [(reply["sample"], reply["unit"]) for reply in replies[24:]] == [
        ("pages-000000.pdf", 24),
        ("pages-000025.pdf", 0),
        ("pages-000025.pdf", 1),
    ]
    assert fewer == replies[:3]


def test_keys_in_a_bucket_are_put_once(s3: S3Server) -> None:
    from operators.store.addresses import store_at

    address = put_pictures(f"{s3.new_bucket()}/here/", 3)
    store = store_at(address)
    before = [store.stat(key) for key in store.list()]
    assert put_pictures(address.rpartition("/")[0], 3) == address
    assert [store.stat(key) for key in store.list()] == before
    assert set(sizes(store, "").values()) == {len(small_picture())}


def ran(driver_s: float = 0.0, driver_mb: float = 0.0, **cpu_s: float) -> Ran:
    return Ran(1.0, {FIRST_ROW: 1.0}, {DRIVER: driver_s, **cpu_s}, driver_mb)


def test_a_unit_costs_the_difference_of_two_sizes_and_the_engine_is_left_out() -> None:
    less, more = ran(1.0, **{ENGINE: 5.0, DECODER: 1.0}), ran(1.4, **{ENGINE: 9.0, DECODER: 3.0})
    unit = Unit("this", "page", (100, 500), (less, more))
    assert unit_ms(unit) == pytest.approx({DRIVER: 1.0, DECODER: 5.0, ENGINE: 10.0})
    assert around_engine_ms(unit) == pytest.approx(6.0)


def test_ten_million_are_reckoned_from_the_two_largest_jobs() -> None:
    grown = [
        Grown("this", "files", 10, ran(4.0, 200.0), 10),
        Grown("this", "files", 100_000, ran(33.0, 290.0), 99_000),
        Grown("this", "files", 10_000, ran(6.3, 201.0), 10_000),
        Grown("this", "keys", 10, ran(4.0, 200.0), 10),
        Grown("this", "keys", 500, ran(4.0, 200.0), 500),
    ]
    (driver,) = drivers(grown)
    assert driver == Driver(
        "this",
        "files",
        (10_000, 100_000),
        pytest.approx(0.3),
        pytest.approx(1.0),
        pytest.approx(290 + 9901),
        pytest.approx(0.3 / 1000 * 10e6 / 3600),
    )


def test_what_is_compared_is_said_in_a_line() -> None:
    def runs(first_s: float, cpu_s: float) -> list[Ran]:
        return [Ran(9.0, {FIRST_ROW: first_s}, {DRIVER: cpu_s})]

    figures = Figures(
        grown=[
            Grown("this", "files", 100, Ran(9.0, {FIRST_ROW: 12.5}, {}, 220.0), 100),
            Grown("this", "files", 50, Ran(9.0, {FIRST_ROW: 11.0}, {}, 200.0), 50),
            Grown("this", "files", 10, Ran(9.0, {FIRST_ROW: 10.0}, {}, 100.0), 10),
            Grown("this", "keys", 10, Ran(9.0, {FIRST_ROW: 10.0}, {}, 100.0), 10),
        ],
        units=[
            Unit("this", "page", (1, 2), (ran(0.0, **{DECODER: 0.0}), ran(1.0, **{DECODER: 2.0}))),
            Unit("old", "page", (1, 2), (ran(0.0, **{DECODER: 0.0}), ran(4.0, **{DECODER: 2.0}))),
        ],
        single=[Single("", "bare pools", FIRST_ROW, runs(10.0, 20.0)), Single("this", RUN, FIRST_ROW, runs(9.0, 22.0))],
    )
    assert list(comparisons(figures)) == [
        "this, 100 files: first row +2.5 s beside 10, 1.10 times the driver's memory beside 50",
        "a page: 0.50 times the CPU of old without the engine, 0.25 the driver's",
        "run, this: 0.90 times the seconds, 1.10 the CPU of bare pools",
    ]


CLI = """
import json, pathlib, sys
command, file, *rest = sys.argv[1:]
if command == "try":
    print("an answer"); sys.exit()
spec = json.loads(pathlib.Path(file).read_text())
out = pathlib.Path(spec["output"], *PLACE)
out.mkdir(parents=True, exist_ok=True)
done = {part.stem for part in out.iterdir()}
inputs = sorted(path.stem for place in spec["inputs"] for path in pathlib.Path(place).rglob("*.*"))
open_ = [name for name in inputs if name not in done][: int(rest[1]) if rest else None]
line = json.loads(pathlib.Path(spec["engine"]["recording"]).read_text().splitlines()[0])
for name in open_:
    (out / f"{name}.parquet").write_text("a part")
    if "asked_log" in line:
        open(line["asked_log"], "a").write(name + "\\n")
"""


def checkout(folder: Path, *place: str) -> Checkout:
    """One whose `run` commits a part for each input, there, and whose `try` answers."""
    (folder / "jobs").mkdir(parents=True)
    (folder / "jobs" / "cli.py").write_text(f"PLACE = {place}{CLI}")
    return Checkout.at(folder)


def test_all_is_measured_in_two_checkouts_in_turns_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.bench.scale_rounds.Rounds._pools", lambda *_: ran(22.0))
    parser = Command(module="jobs.bench.scale")
    options = parser.parse_args(["--inputs", "3,1200", "--pictures", "10", "--pages", "5", "--rounds", "2"])
    new, old = checkout(tmp_path / "new", "_job", "parts"), checkout(tmp_path / "old", "results")
    lines: list[str] = []
    (tmp_path / "world").mkdir()
    figures = Figures()
    measure(Rounds(tmp_path / "world", [new, old], lines.append), options, figures)

    assert [(one.checkout, one.inputs, one.rows) for one in figures.grown] == [
        ("new", 3, 3),
        ("old", 3, 3),
        ("new", 1200, 600),
        ("old", 1200, 600),
    ]
    for one in figures.grown:
        assert set(one.run.seen) == {FIRST_ROW, FIRST_ASK}
        assert (one.resumed is not None) == (one.inputs == 1200)
        assert one.resumed is None or set(one.resumed.seen) == {FIRST_ASK}
    assert [(unit.checkout, unit.kind, unit.sizes) for unit in figures.units] == [
        ("new", "picture", (2, 10)),
        ("old", "picture", (2, 10)),
        ("new", "page", (1, 5)),
        ("old", "page", (1, 5)),
    ]
    assert {(one.checkout, one.what): len(one.first_s()) for one in figures.single} == {
        ("", "bare pools, our Ray"): 2,
        ("", "bare pools, ray.init"): 2,
        ("new", "run"): 2,
        ("new", "try"): 2,
        ("old", "run"): 2,
        ("old", "try"): 2,
    }
    said = [re.sub(r"\d[\d.,]*", "N", line) for line in lines]
    turns = [line.split(": ")[0] for line in said if re.match(r"(new|old): N files", line)]
    assert turns == ["new", "old", "new", "new", "old", "old"]

    show(figures, Console(width=200))
    table = capsys.readouterr().out
    assert "without the engine child" in table
    assert re.search(r"1,200 files +│ old", table)
    assert json.loads(json.dumps(figures.as_json()))["grown"][0]["run"]["cpu_s"][DRIVER] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--beside", "/nowhere"], "is no checkout of sightread"), (["--parts", "one,two"], "'two' is none of inputs,")],
)
def test_what_cannot_be_measured_is_said_at_once(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["bench", "scale", *arguments])
    except SystemExit as error:  # of argparse
        code = int(str(error.code))
    assert code == 2
    assert said in capsys.readouterr().err


def test_what_was_measured_is_shown_when_a_later_run_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def grown(self: Rounds, sizes: tuple[int, ...]) -> Iterator[Grown]:
        for size in sizes[:-1]:
            yield Grown("this", "files", size, ran(), size)
        raise SightreadError("the last one failed")

    monkeypatch.setattr(Rounds, "grown", grown)
    assert main(["bench", "scale", "--parts", "inputs", "--inputs", "1,2,3", "--json"]) == 1
    printed = capsys.readouterr()
    assert [one["inputs"] for one in json.loads(printed.out)["grown"]] == [1, 2]
    assert "the last one failed" in printed.err


def test_without_a_figure_there_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    show(Figures(), Console())
    assert capsys.readouterr().out == ""
