"""The page of a report in a real browser: nothing that others wrote runs there, nothing leaves it, and every part of it
is opened."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.report.report import write_report
from jobs.report.site import Folder, SingleFile, as_script
from operators.store.addresses import store_at
from tests.support.page_viewer import AXE, Viewer, listening, needs_browser, viewed
from tests.support.result_rows import rows
from tests.support.stored import CHUNK, begin, put_rows

RESULT = pa.struct(
    [
        ("text", pa.string()),
        ("code", pa.string()),
        ("blocks", pa.list_(pa.struct([("type", pa.string()), ("text", pa.string()), ("html", pa.string())]))),
        ("objects", pa.list_(pa.struct([("label", pa.string()), ("bbox_px", pa.list_(pa.float64()))]))),
        ("own", pa.string()),
    ]
)


def attack(address: str) -> str:
    owned = "document.title='owned'"
    return "".join(
        (
            f'<script>{owned}</script><img src=x onerror="{owned}"><svg onload="{owned}"></svg>',
            f'<iframe srcdoc="<script>parent.{owned}</script>"></iframe><a href="javascript:{owned}">x</a>',
            f"<style>@import '{address}/a.css';*{{background:url({address}/b)}}</style><img src='{address}/d'>",
            f"</script></style></textarea><!--<script>\u2028');sightread=0;//`${{{owned}}}{address}/c",
        )
    )


def write(folder: Path, attack: str, *, single: bool = False) -> None:
    """A job of one task whose row, prompt, names and messages all are the attack."""
    store = store_at(str(folder / "out"))
    definition = {"decode": {}, "prompt": f"Read {attack} {{question}}", "prompts": {}}
    begin(store, {"own": definition}, {"name": attack, "inputs": [attack]})
    result = {"text": attack, "code": attack, "own": attack}
    result["blocks"] = [{"type": attack, "text": attack, "html": attack}]
    result["objects"] = [{"label": attack, "bbox_px": [0.0, 0.0, 1.0, 1.0]}]
    row = {
        "input_uri": f"/in/../../{attack}/shard.tar#../../../../etc/{attack}.png", "status": "ok", "result": result,
        "text": attack, "reasoning": attack, "text_layer": attack, "finish_reason": attack, "model": attack,
        "parameters": json.dumps({"question": attack}), "prompt_sha256": attack, "unit_kind": "image",
        "attempts": [{"note": attack, "text": attack, "finish_reason": attack, "prompt_tokens": 1, "output_tokens": 1}],
        "verified": {"ok": False, "faults": [attack], "dropped": 1},
    }  # fmt: skip
    failed = {
        **row, "status": "engine_failed", "result": None, "verified": None,
        "error": {"stage": attack, "kind": attack, "message": attack, "attempts": 1},
    }  # fmt: skip
    plain = [{"input_id": "a", "unit_index": 0, **row}, {"input_id": "b", "unit_index": 0, **failed}]
    put_rows(store, "own", rows(CHUNK, plain, RESULT))
    (folder / "out" / "_job" / "events.jsonl").write_text(
        json.dumps({"at": "2026-01-01T00:00:00+00:00", "kind": "run began", "what": attack}) + "\n"
        + json.dumps({"at": attack, "kind": attack, "what": attack}) + "\n"
    )  # fmt: skip
    site = SingleFile(store, "report") if single else Folder(store, "report")
    write_report(store, site, sample=10, seed=0, tell=lambda what: None)


def open_all(viewer: Viewer) -> None:
    """Every page, every row, every part that is folded away."""
    for fragment in ("#/run", "#/task/own?row=a-0-0", "#/task/own?row=b-0-0"):
        viewer.go(fragment)
        for title in ("Markdown", "against the PDF's own text", "plain"):
            if (button := viewer.page.get_by_role("button", name=title)).count():
                button.first.click()
        viewer.page.evaluate("() => document.querySelectorAll('details').forEach(one => { one.open = true })")
        viewer.settle()


@needs_browser
@pytest.mark.parametrize("single", [False, True], ids=["folder", "single"])
def test_what_others_wrote_is_text_and_runs_nowhere(tmp_path: Path, single: bool) -> None:
    with listening() as (address, heard):
        text = attack(address)
        write(tmp_path, text, single=single)
        with viewed(tmp_path / "out" / "report") as viewer:
            viewer.open(name="report.html" if single else "index.html")
            open_all(viewer)
            assert viewer.page.title() != "owned"
            shown = viewer.text()
            assert "<script>document.title='owned'</script>" in shown
            assert f"{address}/c" in shown
            made_of_it = viewer.page.locator("main :is(script, iframe, style, [onerror], [onload])")
            assert made_of_it.count() == 0
            links = viewer.page.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
            assert all(link.startswith("#") for link in links), links
            assert viewer.complaints == []
            assert viewer.requests == []
        time.sleep(0.5)
        assert heard == []
    written = {path.relative_to(tmp_path / "out").parts[0] for path in (tmp_path / "out").rglob("*")}
    assert written == {"_job", "results", "report"}
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in (tmp_path / "out" / "report").rglob("*"))


def test_no_value_ends_its_script() -> None:
    value = {"</script><!--": ["\u2028\u2029", "<script>", 'a"\\']}
    text = as_script(value)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == value


@needs_browser
def test_the_policy_lets_nothing_else_in(tmp_path: Path) -> None:
    """That the page is quiet is no proof that it would stop what gets into it: so something is put in."""
    with listening() as (address, heard):
        write(tmp_path, "plain")
        with viewed(tmp_path / "out" / "report") as viewer:
            viewer.open()
            viewer.page.evaluate(
                """address => {
                    const put = html => document.body.insertAdjacentHTML("beforeend", html);
                    put(`<img src="${address}/a"><iframe src="${address}/b"></iframe>`);
                    put(`<link rel="stylesheet" href="${address}/c">`);
                    put(`<img src="x" onerror="document.title = 'owned'"><form action="${address}/d"><button></form>`);
                    const script = document.createElement("script");
                    script.textContent = "document.title = 'owned'";
                    document.body.append(script);
                    fetch(`${address}/e`).catch(() => {});
                    new WebSocket(address.replace("http", "ws"));
                }""",
                address,
            )
            viewer.page.wait_for_timeout(500)
            assert viewer.page.title() != "owned"
            assert viewer.complaints, "the browser says what it refused"
        assert [said for said in heard if said] == [], "a frame's connection is opened ahead, and nothing is said on it"


ODD = [
    {"bbox_px": ["a", None], "point_px": [1.0], "names": "x", "label": {"a": 1}},
    {"objects": [{"names": 5, "attributes": "x"}], "blocks": ["x"], "lines": [1], "text": {"a": 1}},
    {"steps": [None, 3], "action": "x", "pages": 3, "events": {"start_s": 1, "end_s": 0}},
    {"blocks": [{"cells": [{"row": "x"}]}], "markdown": 5, "summary": ["x"]},
]


@needs_browser
def test_results_of_any_form_open(tmp_path: Path) -> None:
    """As a task of one's own may give them: the names that views look for, with other values."""
    store = store_at(str(tmp_path / "out"))
    begin(store, {"own": {"decode": {}}}, {"name": "own"})
    put_rows(store, "own", rows(CHUNK, [{"input_id": str(number), "unit_index": 0} for number in range(len(ODD))]))
    write_report(store, Folder(store, "report"), sample=10, seed=0, pictures=False, tell=lambda what: None)
    details = tmp_path / "out" / "report" / "data" / "detail-0-0.js"
    text = details.read_text().removeprefix('sightread("detail-0-0",').removesuffix(");\n")
    odd = [{**row, "result": ODD[int(row["input_id"])]} for row in json.loads(text)]
    details.write_text(f'sightread("detail-0-0",{as_script(odd)});')
    with viewed(tmp_path / "out" / "report") as viewer:
        viewer.open("#/task/own")
        for number in range(len(ODD)):
            viewer.go(f"#/task/own?row={number}-0-0")
            assert viewer.page.locator("article :is(.verdict, .notice)").count() >= 1, number
        assert viewer.complaints == []


AXE_SAYS = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter(one => ["serious", "critical"].includes(one.impact))
    .map(one => `${one.id}: ${one.nodes.length} times, as ${one.nodes[0].html} ${one.nodes[0].failureSummary}`)"""


def axe_says(viewer: Viewer) -> list[str]:
    """Serious faults for who uses a screen reader or a keyboard."""
    viewer.page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[Any] = viewer.page.evaluate(AXE_SAYS)
    return found
