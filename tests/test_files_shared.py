"""Files that failed once: each comes out as a patient reader would have it. What counts is what reaches the model, so a
stand-in for one answers with what it was sent, and a whole job is run over all of them.

The inputs, their right values and the stand-in are shared ones, no part of the repository: skipped without them.
"""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pytest

from operators.store.addresses import store_at
from operators.store.results import Results
from tests.support.samples import needs_samples, shared
from tests.support.world import ROOT

pytestmark = [needs_samples, pytest.mark.slow]

FAULTS = shared("faults")


@dataclass(frozen=True)
class Row:
    """seen: what the stand-in says of every picture that it was sent: t, w, h, n (the drawn counter), corners, mean."""

    columns: dict[str, Any]

    @property
    def seen(self) -> list[dict[str, Any]]:
        reply = json.loads(self.columns["text"])
        return list(reply["seen"])

    @property
    def span(self) -> tuple[float, float]:
        return self.columns["start_s"], self.columns["end_s"]

    @property
    def failure(self) -> str | None:
        error = self.columns["error"]
        return error and error["kind"]

    @property
    def notes(self) -> set[str]:
        return {*(self.columns["input_notes"] or ())}

    @property
    def size(self) -> tuple[int, int]:
        return self.columns["width_px"], self.columns["height_px"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[Row]]:
    """(file, task) -> its rows in order, of one job over all the inputs."""
    folder = tmp_path_factory.mktemp("shared")
    odd = folder / "odd_middle.tif"
    odd.write_bytes(lzma.decompress((FAULTS / "documents/pictures/odd_middle.tif.xz").read_bytes()))
    listed = [
        path for place in ("videos", "documents/pictures", "documents/pdf") for path in (FAULTS / place).iterdir()
    ]
    inputs = [str(path) for path in listed if path.suffix not in (".py", ".sh", ".jsonl", ".xz")]
    spec = {
        "name": "shared",
        "inputs": [*sorted(inputs), str(odd)],
        "tasks": ["caption", "ocr", {"name": "video_qa", "parameters": {"question": "What?"}}],
        "output": str(folder / "out"),
        "limits": {"max_failed_fraction": 1.0},
    }
    eyes = subprocess.Popen([sys.executable, str(FAULTS / "eyes.py"), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert eyes.stdout is not None
        port = eyes.stdout.readline().split()[1]
        spec["engine"] = {
            "kind": "openai",
            "url": f"http://127.0.0.1:{port}/v1",
            "model": "eyes",
            "clips": "images",
            "slots": 8,
        }
        (folder / "spec.yaml").write_text(json.dumps(spec))
        run = [sys.executable, "-m", "jobs.cli", "run", str(folder / "spec.yaml")]
        ended = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert (folder / "out/_job/summary.json").is_file(), ended.stdout[-2000:] + ended.stderr[-2000:]
    finally:
        eyes.kill()
        eyes.communicate()
    return _rows(folder / "out")


def _rows(out: Path) -> dict[tuple[str, str], list[Row]]:
    by_file: dict[tuple[str, str], list[Row]] = {}
    results = Results(store_at(str(out)))
    for task in ("caption", "ocr", "video_qa"):
        for batch in results.rows(task):
            for row in batch.to_pylist():
                by_file.setdefault((PurePath(row["input_uri"]).name, task), []).append(Row(row))
    for of_file in by_file.values():
        of_file.sort(key=lambda row: row.columns["unit_index"])
    return by_file


By = dict[tuple[str, str], list[Row]]
PER_S = 25  # frames of the drawn clips


def counters(row: Row) -> list[int]:
    return [picture["n"] for picture in row.seen]


def at_times(row: Row, per_s: int = PER_S) -> list[int]:
    """What the counter shows at the row's times."""
    return [int(time_s * per_s + 0.01) for time_s in row.columns["times_s"]]


def clips(rows: By, name: str) -> list[Row]:
    return rows[name, "caption"]


# videos


@pytest.mark.parametrize("name", ["g_ts_gop250.ts", "g_intra_refresh.mp4", "g_first_not_sync.mp4", "g_h264.avi"])
def test_a_clip_has_its_head(rows: By, name: str) -> None:
    for row in clips(rows, name):
        assert row.columns["status"] == "ok"
        assert row.columns["times_s"][0] == pytest.approx(row.span[0], abs=0.05)
        assert len(row.seen) >= 2 * (row.span[1] - row.span[0]) - 1
        assert counters(row) == at_times(row)


def test_a_gap_of_days_is_no_row_a_clip(rows: By) -> None:
    assert 1 <= len(clips(rows, "long_sample.mp4")) <= 3


def test_times_lie_in_their_clip(rows: By) -> None:
    starts = (0.0, 2.0, 70.0, 71.0, 130.0, 200.0, 205.0)
    for row in clips(rows, "slides.mp4"):
        times_s = row.columns["times_s"]
        assert all(row.span[0] <= time_s <= row.span[1] for time_s in times_s)
        on_screen = [max(index for index, start in enumerate(starts) if start <= time_s + 0.02) for time_s in times_s]
        assert len(set(counters(row))) == len(set(on_screen))
        for even, odd in zip(times_s[::2], times_s[1::2], strict=False):
            assert odd - even <= 0.51


@pytest.mark.parametrize(("name", "corners"), [("mx_hflip.mp4", "GRYB"), ("mx_transpose.mp4", "RBGY")])
def test_mirrors(rows: By, name: str, corners: str) -> None:
    assert {picture["corners"] for row in clips(rows, name) for picture in row.seen} == {corners}


def test_a_change_of_size(rows: By) -> None:
    for row in clips(rows, "g_turned_midway.mkv"):
        assert row.columns["status"] == "ok"
        assert len({(picture["w"], picture["h"]) for picture in row.seen}) == 1
    assert any("sizes_differ" in row.notes for row in clips(rows, "g_turned_midway.mkv"))


@pytest.mark.parametrize(("name", "task"), [("cenc.mp4", "caption"), ("crypt_pubsec.pdf", "ocr")])
def test_what_is_encrypted(rows: By, name: str, task: str) -> None:
    assert {row.failure for row in rows[name, task]} == {"encrypted"}


def test_fields_are_taken_apart(rows: By) -> None:
    for row in clips(rows, "interlaced.mp4"):
        assert "deinterlaced" in row.notes


def test_damage_is_told(rows: By) -> None:
    told = [row for row in clips(rows, "biterrors.mp4") if row.columns["damaged_frames"]]
    assert told
    assert all("damaged" in row.columns["verified"]["faults"] for row in told)


def test_the_stream_that_plays(rows: By) -> None:
    for row in clips(rows, "two_default2.mkv"):
        assert row.size == (640, 360)
        assert counters(row) == at_times(row)


def test_a_cut_avi(rows: By) -> None:
    read, rest = clips(rows, "g_cut.avi")
    assert read.columns["status"] == "ok"
    assert rest.failure == "truncated"
    assert rest.span[1] == pytest.approx(8.0, abs=0.1)


def test_a_whole_video_that_is_cut_says_so(rows: By) -> None:
    (row,) = rows["cut_fs.mp4", "video_qa"]
    assert "truncated" in row.columns["verified"]["faults"]


def test_a_recording_that_begins_amid_a_group(rows: By) -> None:
    pictures = [picture for row in clips(rows, "g_mid_gop.ts") for picture in row.seen]
    assert len(pictures) >= 35
    assert all(row.columns["status"] == "ok" for row in clips(rows, "g_mid_gop.ts"))


def test_no_time_before_the_start(rows: By) -> None:
    assert clips(rows, "g_late_start.mp4")[0].columns["times_s"][0] == 0.0
    assert "-0.0" not in json.dumps([row.columns["times_s"] for row in clips(rows, "g_late_start.mp4")])


def test_joined_recordings(rows: By) -> None:
    pictures = [n for row in clips(rows, "g_joined.ts") for n in counters(row)]
    assert {n // 1000 for n in pictures} == {0, 2}
    assert any("joined" in row.notes for row in clips(rows, "g_joined.ts"))


def test_what_is_transparent_is_white(rows: By) -> None:
    assert {picture["corners"] for row in clips(rows, "alpha_qtrle.mov") for picture in row.seen} == {"WWWW"}


def test_a_camera_s_names(rows: By) -> None:
    assert {row.columns["status"] for row in clips(rows, "CAM0001.MTS")} == {"ok"}


def test_a_script_is_no_video(rows: By) -> None:
    assert {row.failure for row in rows["concat_rel.mp4", "caption"]} <= {"malformed", "unknown_type"}


@pytest.mark.parametrize("file", sorted((FAULTS / "videos").glob("*")) if FAULTS.is_dir() else [], ids=lambda p: p.name)
def test_a_video_is_answered_whole_too(rows: By, file: Path) -> None:
    if file.suffix in (".py", ".sh", ".jsonl"):
        return
    if file.name not in ("cenc.mp4", "concat_rel.mp4"):
        assert [row.columns["status"] for row in rows[file.name, "video_qa"]] == ["ok"]


# pictures

SIZES = {
    "orient6.tif": (600, 400),
    "orient8_g4.tif": (600, 400),
    "exif6_neg_slong.jpg": (600, 400),
    "photo.avif": (600, 400),
    "tiles.heic": (1500, 1000),
}
LIGHT = ["palette8.tif", "g16_II_photo0.tif", "f32nan_II.tif", "orient6.tif", "orient8_g4.tif", "fax_204x98.tif"]
READ = [
    *LIGHT,
    *("ztxt_2mb.png", "crc_text.png", "exif_garbage.png", "exif6_neg_slong.jpg", "no_eoi.jpg", "tiles.heic"),
    *("photo.avif", "photo.jfif", "pyramid.tif", "plain.png", "really_png.pdf", "colour_red_on_black.png"),
]


@pytest.mark.parametrize("name", READ)
def test_a_picture_is_one_unit(rows: By, name: str) -> None:
    (row,) = rows[name, "caption"]
    assert (row.columns["status"], row.columns["unit_kind"]) == ("ok", "image")
    assert row.columns["unit_count"] == 1
    if name in SIZES:
        assert row.size == SIZES[name]
        (shown,) = row.seen
        assert shown["w"] / shown["h"] == pytest.approx(SIZES[name][0] / SIZES[name][1], rel=0.1)


@pytest.mark.parametrize("name", LIGHT)
def test_print_is_dark_on_white(rows: By, name: str) -> None:
    assert rows[name, "caption"][0].seen[0]["mean"] > 215


def test_a_fax_has_its_shape(rows: By) -> None:
    width_px, height_px = rows["fax_204x98.tif", "caption"][0].size
    assert width_px / height_px == pytest.approx(1728 / 1100, rel=0.03)


def test_an_odd_frame_costs_one_row(rows: By) -> None:
    first, middle, last = rows["odd_middle.tif", "caption"]
    assert (first.columns["status"], last.columns["status"]) == ("ok", "ok")
    # its own pixels or a word why not; they are dark print on white, as the others'
    assert middle.failure or middle.seen[0]["mean"] == first.seen[0]["mean"]


def test_the_first_bytes_count(rows: By) -> None:
    assert {row.columns["unit_kind"] for row in rows["really_pdf.jpg", "ocr"]} == {"page"}
    assert {row.columns["status"] for row in rows["really_pdf.jpg", "ocr"]} == {"ok"}


@pytest.mark.parametrize("name", ["colour_red_on_black.png", "colour_yellow_on_white.png"])
def test_a_color_is_something(rows: By, name: str) -> None:
    assert rows[name, "ocr"][0].columns["blank"] is False


# pages


@pytest.mark.parametrize(
    ("name", "pages"), [("count_1.pdf", 3), ("kids_null.pdf", 3), ("count_big.pdf", 3), ("crop_disjoint_3of6.pdf", 6)]
)
def test_all_pages_and_no_others(rows: By, name: str, pages: int) -> None:
    read = [row for row in rows[name, "ocr"] if row.columns["status"] == "ok"]
    assert len(read) == pages
    assert len(rows[name, "ocr"]) <= pages + 1


def test_a_page_without_its_crop(rows: By) -> None:
    (row,) = rows["crop_disjoint.pdf", "ocr"]
    assert row.size == (1224, 1584)


@pytest.mark.parametrize(
    ("name", "blank"), [("pageno_1.pdf", False), ("blank_with_layer.pdf", True), ("colour_yellow_on_white.pdf", False)]
)
def test_what_is_blank(rows: By, name: str, blank: bool) -> None:
    assert rows[name, "ocr"][0].columns["blank"] is blank


@pytest.mark.parametrize("name", ["tounicode_shift.pdf", "tounicode_half.pdf"])
def test_an_unfit_layer_is_said(rows: By, name: str) -> None:
    for row in rows[name, "ocr"]:
        assert "text_layer_unfit" in row.notes
        assert "text_layer" not in row.columns["verified"]["faults"]


def test_a_form_that_only_its_maker_shows(rows: By) -> None:
    assert "xfa_form" in rows["xfa_dynamic.pdf", "ocr"][0].columns["verified"]["faults"]
