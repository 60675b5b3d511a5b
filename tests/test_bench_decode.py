"""`sightread bench decode` on clips of seconds: who is right is told from who is not, however fast, and what is shown
follows from what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.bench.decode_cases import Case, Truth, generated, of_video, samples
from jobs.bench.decode_readers import Wanted
from jobs.bench.decode_report import Figures, lines, times
from jobs.bench.decode_rounds import OURS, READERS, Reader, Result, Rounds
from jobs.bench.frame_number import BITS, draw_number, read_number
from jobs.cli import main
from tests.support.counter_clips import write_counters
from tests.support.world import write_pdf

PYAV = next(reader for reader in READERS if reader.name.startswith("PyAV"))


def wrong(name: str) -> Reader:
    return Reader(name, f"tests.support.wrong_readers:{name}", is_video=True, comes_by="apt-get install rare")


def measured(case: Case, readers: list[Reader], rounds: int = 1) -> tuple[dict[str, Result], dict[str, str], list[str]]:
    said: list[str] = []
    with Rounds(readers, workers=1, report=said.append) as running:
        results = running.case(case, rounds)
    return {result.reader: result for result in results}, running.missing, said


@given(st.integers(0, 2**BITS - 1), st.integers(96, 700), st.integers(64, 400))
def test_a_number_is_read_as_it_was_drawn(number: int, width: int, height: int) -> None:
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    draw_number(pixels, number)
    assert read_number(pixels) == number


def test_the_command_measures_ours_and_the_peers_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "bench decode --quick --rounds 2 --workers 1 --readers sightread,pyav,pypdfium2 --folder"
    only = ["--only", "h264-360p,off-keyframes,text50"]
    assert main([*line.split(), str(tmp_path), *only, "--json"]) == 0
    out, err = capsys.readouterr()
    figures = json.loads(out)
    assert [(case["name"], case["wanted"]) for case in figures["cases"]] == [
        ("h264-360p", 4), ("off-keyframes", 9), ("text50", 3),
    ]  # fmt: skip
    for result in figures["measured"]:
        assert (result["pictures"], result["times"], result["fault"]) == (result["wanted"], result["wanted"], None)
        assert len(result["wall_s"]) == len(result["cpu_s"]) == 2
        assert min(result["cpu_s"]) > 0
    names = {result["reader"] for result in figures["measured"] if result["case"] == "text50"}
    assert names == {OURS, "sightread, bare", "pypdfium2"}
    assert len(figures["beside"]) == 6
    assert "round 2 of 2" in err

    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert main([*line.split(), str(tmp_path), "--only", "h264-360p"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert "| h264-360p | PyAV, every frame | **" in capsys.readouterr().out


def test_who_is_wrong_is_seen_and_is_nobodys_measure(tmp_path: Path) -> None:
    (case,) = generated(tmp_path, lambda name: name == "h264-360p", quick=True)
    names = ("OneLate", "WrongTimes", "Short", "Failing", "Dying", "Missing")
    results, missing, said = measured(case, [PYAV, *map(wrong, names)])
    assert results["PyAV, every frame"].is_right
    late = results["OneLate"]
    assert 0 < late.pictures < case.count
    assert (results["WrongTimes"].pictures, results["WrongTimes"].times) == (case.count, 0)
    assert (results["Short"].pictures, results["Short"].times) == (case.count - 1, case.count - 1)
    assert results["Failing"].fault == "ValueError: no such codec"
    assert results["Dying"].fault == "it died with 3: "
    assert not any(result.is_right for name, result in results.items() if name in names)
    assert missing == {"Missing": "ImportError: No module named 'rare'; apt-get install rare"}
    assert said[0] == f"left out: Missing: {missing['Missing']}"

    figures = Figures(1)
    figures.cases, figures.results = [case], list(results.values())
    late.wall_s = [1e-6]
    best = figures.best_peer(case)
    assert best is not None
    assert best.reader == "PyAV, every frame"
    table = list(lines(figures, missing))
    assert any(line.startswith("| h264-360p | OneLate | ") and f"{late.pictures} of 4" in line for line in table)
    assert "| h264-360p | Failing | - | - | - | ValueError: no such codec |" in table


def test_a_video_without_numbers_is_held_against_its_own_frames(tmp_path: Path) -> None:
    write_counters(tmp_path / "a.mp4", 60, gop=25)
    write_pdf(tmp_path / "b.pdf", pages=2)
    (tmp_path / "c.txt").write_text("nothing")
    video, document = samples(tmp_path, lambda name: True)
    assert (video.name, video.count, document.name, document.count) == ("a.mp4", 5, "b.pdf", 2)
    results, _, _ = measured(video, [PYAV, wrong("OneLate"), *(reader for reader in READERS if not reader.is_peer)])
    assert {name for name, result in results.items() if result.is_right} == {PYAV.name, OURS, "sightread, bare"}


def test_a_variable_rate_is_judged_by_what_is_on_screen(tmp_path: Path) -> None:
    case = of_video("a", write_counters(tmp_path / "a.mkv", [0, 100, 900, 950, 1900, 2000], b_frames=0))
    # wanted at 0, 0.5, 1, 1.5, 2 s
    assert case.truth.right == (0, 1, 3, 3, 5)
    assert case.truth.right_times([0, 0.5, 0.95, 1.5, 2.0]) == 5
    assert case.truth.right_times([0, 0.9, 0.94, 1.9, 1.9]) == 1


def test_ratios_are_those_of_the_same_round() -> None:
    ours = Result("a", OURS, False, 2, wall_s=[1.0, 2.0, 4.0], cpu_s=[1.0, 1.0, 1.0], pictures=2, times=2)
    peer = Result("a", "peer", True, 2, wall_s=[2.0, 2.0, 12.0], cpu_s=[2.0, 4.0, 8.0], pictures=2, times=2)
    assert times(peer, ours, "wall_s") == (2.0, 1.0, 3.0)
    case = Case("a", "b", Wanted("a", (0.0, 1.0), ((1, 1),)), Truth((0, 1)), seconds=2.0)
    figures = Figures(2)
    figures.cases, figures.results = [case], [ours, peer]
    assert figures.per_s(case, ours) == [4.0, 2.0, 1.0]
    assert figures.cpu(case, peer) == [0.5, 1.0, 2.0]
    assert "| a | peer | **2.00** (1.00 to 3.00) | **4.00** (2.00 to 8.00) | - | - |" in lines(figures, {})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--readers nobody", "--readers: none of sightread"),
        ("--only nothing", "--only: none of h264-1080p"),
        ("--samples /nowhere", "--samples: /nowhere is no folder"),
    ],
)
def test_what_there_is_not_is_said(arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "decode", *arguments.split()]) == 2
    assert sentence in capsys.readouterr().err
