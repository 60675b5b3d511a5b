"""A report of every shipped task in a real browser: each view shows what it is for, without a complaint, a request or a
serious fault of accessibility; some are held to golden pictures."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.report.report import write_report
from jobs.report.site import Folder
from operators.store.addresses import store_at
from schemas.checkout import ROOT
from tests.support.page_viewer import AXE, Viewer, needs_browser, viewed
from tests.test_report_page import axe_says

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_browser]

GOLDEN = ROOT / "tests" / "golden_pages"
"""Written anew where SIGHTREAD_GOLDEN is set; then somebody looks at them."""
MOST_OFF = 0.02
"""Of the pixels may differ by more than NEAR levels from a golden picture: fonts differ a little between machines."""
NEAR = 48


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("every")
    subprocess.run([sys.executable, "-m", "tests.support.every_task", str(folder)], cwd=ROOT, check=True)
    for name in ("all", "code"):
        store = store_at(str(folder / name))
        write_report(store, Folder(store, "report"), sample=50, seed=0, price=2.0, tell=lambda what: None)
    return {name: folder / name / "report" for name in ("all", "code")}


@pytest.fixture(params=["all", "code"])
def viewer(request: pytest.FixtureRequest, reports: dict[str, Path]) -> Iterator[Viewer]:
    with viewed(reports[request.param]) as viewer:
        viewer.open()
        yield viewer


def test_every_row_of_every_task_opens(viewer: Viewer) -> None:
    tasks = [link.get_attribute("href") for link in viewer.page.locator("nav a[href^='#/task/']").all()]
    assert len(tasks) in (4, 20)
    for task in tasks:
        viewer.go(task)
        rows = [link.get_attribute("href") for link in viewer.page.locator(".line").all()]
        assert rows, task
        for row in rows:
            viewer.go(row)
            assert viewer.page.locator("article .verdict").count() == 1, row
    assert viewer.complaints == []
    assert viewer.requests == []


SHOWS = {
    "caption": ("sign.png", "refused"),
    "caption_structured": ("shapes.jpg", "visible text"),
    "document_qa": ("lighthouse.pdf", "page 2 (cited)"),
    "events": ("clock.mp4", "A blue square comes and circles."),
    "ground_2d": ("shapes.jpg", "green triangle"),
    "ground_3d": ("shapes.jpg", "crate"),
    "ground_video": ("clock.mp4", "red circle"),
    "gui_action": ("shapes.jpg", "I tap the button."),
    "gui_episode": ("episode", "I swipe up."),
    "ocr": ("lighthouse.pdf", "against the PDF's own text"),
    "parse_document": ("lighthouse.pdf", "Markdown"),
    "recognize": ("shapes.jpg", "圆 · Circle"),
    "solve": ("shapes.jpg", "Reasoning"),
    "text": ("", "Bonjour !"),
    "video_qa": ("clock.mp4", "after six seconds"),
}


def test_each_view_shows_what_it_is_for(reports: dict[str, Path]) -> None:
    with viewed(reports["all"]) as viewer:
        viewer.open()
        for task, (name, words) in SHOWS.items():
            viewer.go(f"#/task/{task}?q={name}")
            viewer.page.keyboard.press("j")
            viewer.settle()
            assert words in viewer.text("article"), task


def test_boxes_and_what_is_said_of_them_show_each_other(reports: dict[str, Path]) -> None:
    with viewed(reports["all"]) as viewer:
        viewer.open("#/task/ground_2d?q=shapes.jpg")
        viewer.page.keyboard.press("j")
        viewer.settle()
        assert viewer.page.locator(".canvas rect").count() == 2
        viewer.page.locator(".things .place").nth(1).focus()
        assert viewer.page.locator(".canvas g.active.mark-1").count() == 1
        viewer.page.locator(".canvas g.mark-0 rect").hover()
        assert viewer.page.locator(".things .place.active.mark-0").count() == 1


def test_filters_search_and_keys(reports: dict[str, Path]) -> None:
    with viewed(reports["all"]) as viewer:
        viewer.open("#/task/ocr")
        everything = viewer.page.locator(".line").count()
        viewer.page.get_by_role("button", name="doubtful").click()
        assert viewer.page.locator(".line").count() == 2
        assert "state=doubtful" in viewer.page.url
        viewer.page.keyboard.press("j")
        viewer.page.keyboard.press("j")
        viewer.settle()
        assert "2 of 2" in viewer.text(".row-tools")
        viewer.page.reload()
        viewer.settle()
        assert "2 of 2" in viewer.text(".row-tools"), "a link leads to the row and its filters"
        viewer.page.keyboard.press("Escape")
        viewer.go("#/task/ocr")
        viewer.page.keyboard.press("/")
        viewer.page.keyboard.type("harbour CAFE")
        viewer.settle()
        assert viewer.page.locator(".line").count() == 1 < everything


PICTURES = {
    # name -> report, fragment, width and height in pixels, colors
    "overview-light": ("all", "#/", 1280, 800, "light"),
    "overview-dark": ("all", "#/", 1280, 800, "dark"),
    "ocr-light": ("all", "#/task/ocr?q=lighthouse.pdf&state=ok", 1440, 900, "light"),
    "blocks-dark": ("all", "#/task/parse_document?q=opening", 1440, 900, "dark"),
    "boxes-phone": ("all", "#/task/ground_2d?q=shapes.jpg", 400, 800, "light"),
    "events-light": ("all", "#/task/events?q=clock.mp4", 1280, 800, "light"),
    "episode-dark": ("all", "#/task/gui_episode?q=swipe", 1280, 800, "dark"),
    "code-light": ("code", "#/task/code_html?q=sign.png", 1440, 900, "light"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pages_look_as_they_did(name: str, reports: dict[str, Path]) -> None:
    report, fragment, width_px, height_px, scheme = PICTURES[name]
    with viewed(reports[report], width_px, height_px, scheme) as viewer:
        viewer.open(fragment)
        if "/task/" in fragment:
            viewer.page.keyboard.press("j")
            viewer.settle()
        # what differs from run to run
        viewer.page.evaluate(
            """() => document.querySelectorAll(".histograms, .facts, footer, .brand .muted, .address").forEach(
                one => { one.style.visibility = "hidden" })"""
        )
        picture = Image.open(io.BytesIO(viewer.page.screenshot())).convert("RGB")
    golden = GOLDEN / f"{name}.webp"
    if os.environ.get("SIGHTREAD_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        picture.save(golden, quality=80)
    with Image.open(golden) as there:
        assert there.size == picture.size
        difference = np.abs(np.asarray(there.convert("RGB"), np.int16) - np.asarray(picture, np.int16)).max(axis=2)
    assert (difference > NEAR).mean() < MOST_OFF


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there: run scripts/report-page")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_a_screen_reader(reports: dict[str, Path], scheme: str) -> None:
    said = {}
    for report, fragments in {
        "all": ["#/", "#/run", *(f"#/task/{task}" for task in SHOWS)],
        "code": ["#/task/code_html", "#/task/code_drawio"],
    }.items():
        with viewed(reports[report], scheme=scheme) as viewer:
            viewer.open()
            for fragment in fragments:
                viewer.go(fragment)
                if "/task/" in fragment:
                    name = SHOWS.get(fragment.rpartition("/")[2], ("",))[0]
                    viewer.go(f"{fragment}?q={name}")
                    viewer.page.keyboard.press("j")
                    viewer.settle()
                if faults := axe_says(viewer):
                    said[fragment] = faults
    assert said == {}
