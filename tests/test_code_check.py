"""Code tried out: pages rendered and compared, hostile pages held, and a machine without a browser.

The pages are shown by the system's Chromium; where there is none, the tests of pages are skipped.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.load import parse
from model.prompts.rgb import RGB
from operators.code_check.code_check import CodeCheck, pending_code_checks
from operators.code_check.code_checker import Checked, CodeChecker
from operators.code_check.render_page import missing
from operators.code_check.row_check import words_of
from operators.code_check.visual_similarity import compare
from operators.store.addresses import store_at
from operators.store.part_log import PartLog
from operators.store.results import Results
from operators.store.view import View
from pipelines.catalogue import find
from pipelines.folder import JobFolder
from pipelines.job import Job, prepare
from pipelines.local import answer
from pipelines.reparse import reparse
from pipelines.rounds import Round, now, who
from schemas import tables
from schemas.decode import DecodeSettings
from tests.support.parts import chunk
from tests.support.samples import recorded
from tests.support.world import ROOT, write_image, write_recording
from tests.test_code import GRAPH, code_of

needs_browser = pytest.mark.skipif(missing() is not None, reason=str(missing()))
W, H = 1000, 800
C = chunk("c")


def leftovers(pid: int) -> list[str]:
    """Folders and processes of checks that a process asked for; others of this machine may check at the same time."""
    name = re.compile(rf"sightread-trial-[0-9a-f]+-{pid}-")
    left_over = [str(path) for path in Path(tempfile.gettempdir()).iterdir() if name.match(path.name)]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == str(os.getpid()):
            continue
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            if name.search(line) or name.search((entry / "environ").read_bytes().decode(errors="replace")):
                left_over.append(line)
    return left_over


@pytest.fixture(scope="module")
def patient() -> Iterator[CodeChecker]:
    checker = CodeChecker(deadline_s=120, load_s=60)
    yield checker
    checker.close()


def shown(checked: Checked) -> RGB:
    assert checked.columns["outcome"] == "shown", checked.columns
    assert checked.picture is not None
    return checked.picture


@needs_browser
def test_a_page_is_like_its_own_screenshot_and_its_variants_are_less(patient: CodeChecker) -> None:
    page, _ = code_of(recorded()["code_html"])
    checked = patient.check("html", page, W, H)
    original = shown(checked)
    assert original.shape == (checked.columns["height_px"], W, 3)
    assert checked.columns["height_px"] > H  # the whole page, not the window
    assert (checked.columns["errors"], checked.columns["refused"]) == ([], [])

    def variant(changed: str) -> float:
        assert changed != page
        score = compare(original, shown(patient.check("html", changed, W, original.shape[0]))).score
        assert score is not None
        return score

    same = compare(original, shown(patient.check("html", page, W, original.shape[0])))
    assert same.score is not None
    assert same.score >= 0.99
    assert same.ssim >= 0.99
    assert variant("<!DOCTYPE html><html></html>") == 0
    # the sections of the page in another order
    start, end = page.index("<h2>"), page.index('<div class="footer">')
    sections = re.split(r"(?=<h2>)", page[start : page.rindex("</div>", 0, end)])
    shuffled = page[:start] + "".join(reversed(sections)) + page[page.rindex("</div>", 0, end) :]
    assert variant(shuffled) < same.score - 0.02
    recolored = page.replace("#333", "#a33").replace("#2c2c2c", "#22a").replace("background: white", "background: #ff8")
    assert variant(recolored) < same.score - 0.02
    replaced = re.sub(
        r"(?<=>)[^<>]+(?=</(?:li|p|h1|h2|h3|div|strong|label|button|a|span)>)",
        lambda text: "".join(chr((ord(char) - 97 + 7) % 26 + 97) if char.islower() else char for char in text[0]),
        page,
    )
    assert variant(replaced) < same.score - 0.1


@needs_browser
def test_what_is_printed_on_a_page_comes_with_its_picture(patient: CodeChecker) -> None:
    """What is laid out, whatever the page's scripts say of it; nothing that is not shown."""
    lies = "<script>Object.defineProperty(document.body, 'innerText', {value: 'a lie'})</script>"
    unseen = "<p style='display: none'>unseen</p><style>p {}</style>"
    page = f"<body><h1>Invoice <b>4711</b></h1>{unseen}<p>12.50{lies}</body>"
    assert (patient.check("html", page, W, H).text or "").split() == ["Invoice", "4711", "12.50"]
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg"><title>no</title><text>a <tspan>b</tspan></text><text>7</text></svg>'
    )
    assert (patient.check("svg", drawing, W, H).text or "").split() == ["a", "b", "7"]


@pytest.mark.parametrize(
    ("layer", "printed", "counts", "faults"),
    [
        ("Invoice 4711\nTotal 1,282.50 EUR", "Invoice\n4711\nTotal 1,282.50 EUR", (0, 0), ()),
        ("Invoice 4711\nTotal 1,282.50 EUR", "Invoice 4711 Total 1,228.50 EUR", (0, 0), ("text_layer",)),
        ("Invoice 4711\nTotal 1,282.50 EUR", "", (5, 0), ("nothing_read", "text_layer")),
        (None, "Invoice 4711 Total 1,228.50 EUR", (None, None), ()),
    ],
)
def test_words_are_judged_only_where_it_is_known_what_the_input_reads(
    layer: str | None, printed: str, counts: tuple[int | None, int | None], faults: tuple[str, ...]
) -> None:
    row = {"unit_kind": "page", "unit_index": 0, "page": 1, "text_layer": layer, "blank": False}
    checked = words_of(find("code_html"), Checked({"outcome": "shown"}, np.zeros((9, 9, 3), np.uint8), printed), row)
    assert (checked.missing_words, checked.extra_words, checked.faults) == (*counts, faults)


@needs_browser
def test_a_drawing_is_rendered_without_its_scripts(patient: CodeChecker) -> None:
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50"><rect width="50" height="50" fill="#f00"/>'
        '<script>document.documentElement.innerHTML = ""</script></svg>'
    )
    picture = shown(patient.check("svg", drawing, 400, 300))
    assert picture.shape == (300, 400, 3)
    assert (picture[199, 199].tolist(), picture[199, 201].tolist()) == ([255, 0, 0], [255, 255, 255])
    assert patient.check("svg", drawing[:-8], 400, 300).columns["outcome"] == "unreadable"


def test_what_needs_no_browser(patient: CodeChecker) -> None:
    assert patient.check("python", "import matplotlib.pyplot as plt", 1, 1).columns["imports"] == ["matplotlib.pyplot"]
    assert patient.check("python", "import", 1, 1).columns["outcome"] == "unreadable"
    assert patient.check("drawio", GRAPH.replace('source="a"', 'source="z"'), 1, 1).columns["unresolved"] == ["z"]


@needs_browser
def test_scripts_run_and_their_errors_are_kept(patient: CodeChecker) -> None:
    page = "<body bgcolor='red'><script>document.bgColor = 'blue'; console.error('so it goes'); nowhere()</script>"
    checked = patient.check("html", page, 320, 240)
    assert shown(checked)[100, 100].tolist() == [0, 0, 255]
    assert checked.columns["errors"] == ["so it goes", "nowhere is not defined"]


# what comes of each, and how long it may load: a busy machine may need that to get so far
HOSTILE = {
    "loops": ("<script>while (true) {}</script>", {"timeout"}, 3),
    "loops later": ("<script>setTimeout(() => { while (true) {} }, 100)</script>", {"timeout"}, 3),
    "asks for ever": ("<script>while (true) alert(1)</script>", {"timeout"}, 3),
    "hoards objects": (
        "<script>const a = []; while (true) a.push(new Array(1e5).fill(1.5))</script>",
        {"out_of_memory", "crashed"},
        60,
    ),
    # Chromium may tell the script that there is no more, and go on
    "hoards bytes": (
        "<script>const a = []; while (true) { a.push(new Uint8Array(64 << 20).fill(1)) }</script>",
        {"out_of_memory", "crashed", "shown"},
        60,
    ),
    "is endless": ("<div style='height: 1000000px'>x</div>", {"shown"}, 60),
    "works all cores": (
        "<script>for (let i = 0; i < 50; i++) new Worker(URL.createObjectURL(new Blob(['while(1){}'])))</script>",
        {"timeout", "shown", "out_of_memory", "crashed"},
        3,
    ),
}


@needs_browser
@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_without_end_ends(name: str) -> None:
    page, outcomes, load_s = HOSTILE[name]
    before = set(leftovers(os.getpid()))
    checker = CodeChecker(deadline_s=load_s + 30, load_s=load_s, memory_mb=1000)
    checked = checker.check("html", page, 400, 300)
    checker.close()
    assert set(leftovers(os.getpid())) <= before
    assert checked.columns["outcome"] in outcomes, checked.columns
    if name == "asks for ever":
        assert checked.columns["refused"] == ["dialog alert"]
    if name == "is endless":
        assert shown(checked).shape[0] == 8192


class Listener:
    """Hears TCP and UDP on one port of the loopback, of IPv4 and where there is one of IPv6."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._sockets: list[socket.socket] = []
        self.port = 0
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with suppress(OSError):
                    one = socket.socket(family, kind)
                    self._sockets.append(one)
                    one.bind((address, self.port))
                    self.port = one.getsockname()[1]
                    if kind == socket.SOCK_STREAM:
                        one.listen()
                    threading.Thread(target=self._listen, args=(one, kind), daemon=True).start()

    def _listen(self, one: socket.socket, kind: int) -> None:
        with suppress(OSError):
            while True:
                if kind == socket.SOCK_STREAM:
                    caller, _ = one.accept()
                    caller.close()
                    self.heard.append("tcp")
                else:
                    one.recv(100)
                    self.heard.append("udp")

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def listening() -> Iterator[Listener]:
    """Nothing may be heard; and it would have been."""
    listener = Listener()
    yield listener
    time.sleep(0.5)
    assert listener.heard == []
    with socket.create_connection(("127.0.0.1", listener.port)):
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("127.0.0.1", listener.port))
    deadline = time.monotonic() + 10
    while sorted(set(listener.heard)) != ["tcp", "udp"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(set(listener.heard)) == ["tcp", "udp"]
    listener.close()


def reaching(port: int) -> str:
    """Every way out of a page that there is."""
    at = f"127.0.0.1:{port}"
    return f"""<!DOCTYPE html><html><head>
    <link rel="preconnect" href="http://{at}"><link rel="dns-prefetch" href="//localhost:{port}">
    <link rel="prefetch" href="http://{at}/prefetch"><link rel="preload" as="image" href="http://{at}/preload">
    <link rel="modulepreload" href="http://{at}/m.js"><link rel="icon" href="http://{at}/icon.png">
    <link rel="stylesheet" href="http://{at}/a.css"><link rel="manifest" href="http://{at}/app.json">
    <style>@import url("http://localhost:{port}/b.css"); @font-face {{ font-family: x; src: url("http://{at}/f.woff") }}
    body {{ font-family: x; background: url("http://[::1]:{port}/bg.png") }}</style>
    <script type="speculationrules">{{"prerender": [{{"urls": ["http://{at}/next"]}}], "prefetch": [{{"urls": ["http://{at}/n"]}}]}}</script>
    </head><body>text <img src="http://{at}/i.png"><img src="file:///etc/passwd"><iframe src="http://{at}/frame"></iframe>
    <iframe src="file:///etc/passwd"></iframe><object data="http://{at}/o"></object><embed src="http://{at}/e">
    <video src="http://{at}/v.mp4" autoplay></video><audio src="http://{at}/a.mp3" autoplay></audio>
    <form id="f" action="http://{at}/form" method="post" target="_blank"><input name="a" value="b"></form>
    <a id="d" href="data:text/plain,x" download="x.txt">d</a><a id="p" href="#" ping="http://{at}/ping">p</a>
    <script>
    const tries = [
      () => fetch("http://{at}/fetch"), () => fetch("http://{at}/late", {{keepalive: true, mode: "no-cors"}}),
      () => fetch("file:///etc/passwd"), () => navigator.sendBeacon("http://{at}/beacon", "x"),
      () => {{ const x = new XMLHttpRequest(); x.open("GET", "http://{at}/xhr"); x.send() }},
      () => new WebSocket("ws://{at}/ws"), () => new EventSource("http://{at}/events"),
      () => new WebTransport("https://{at}/wt"), () => new Worker("http://{at}/w.js"), () => import("http://{at}/m.js"),
      () => new Worker(URL.createObjectURL(new Blob(["fetch('http://{at}/worker'); importScripts('http://{at}/s.js')"]))),
      () => navigator.serviceWorker.register("/sw.js"), () => window.open("http://{at}/window"),
      () => {{ const c = new RTCPeerConnection({{iceServers: [{{urls: "stun:{at}"}},
                 {{urls: "turn:{at}?transport=tcp", username: "a", credential: "b"}}]}});
               c.createDataChannel("x"); c.createOffer().then(o => c.setLocalDescription(o)) }},
      () => document.getElementById("f").submit(), () => document.getElementById("d").click(),
      () => document.getElementById("p").click(), () => alert(1), () => confirm(1), () => prompt(1), () => print(),
    ];
    for (const each of tries) try {{ each() }} catch (e) {{}}
    setTimeout(() => {{ location = "http://{at}/away" }}, 100);
    </script></body></html>"""


@needs_browser
def test_what_reaches_out_is_refused_and_heard_by_nobody(patient: CodeChecker, tmp_path: Path) -> None:
    with listening() as listener:
        checked = patient.check("html", reaching(listener.port), 400, 300)
    shown(checked)
    refused = " ".join(checked.columns["refused"])
    for kind in ("stylesheet http://127.0.0.1", "image http://127.0.0.1", "file ", "document http://127.0.0.1"):
        assert kind in refused, checked.columns["refused"]


@needs_browser
def test_the_browser_alone_lets_nothing_out_either(tmp_path: Path) -> None:
    """Where a machine gives no namespaces, this is what is left."""
    code = (
        "import sys, json; from operators.code_check.render_page import Renderer; r = Renderer(); "
        "s = r.show(sys.stdin.read(), 400, 300, 60); r.close(); "
        "print(json.dumps([s.fault, s.message, s.refused, s.picture is not None]))"
    )
    with listening() as listener:
        printed = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            input=reaching(listener.port),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
    fault, message, refused, seen = json.loads(printed.splitlines()[-1])
    assert (fault, message, seen) == (None, None, True)
    assert len(refused) > 10


@needs_browser
def test_nothing_outlives_a_parent_that_is_killed() -> None:
    code = (
        "from operators.code_check.code_checker import CodeChecker; t = CodeChecker(deadline_s=100, load_s=90); "
        "print('on', flush=True); t.check('html', '<script>while (true) {}</script>', 400, 300)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "on\n"
    deadline = time.monotonic() + 60
    while not any("--type=renderer" in line for line in leftovers(parent.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert any("--type=renderer" in line for line in leftovers(parent.pid))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while (left := [line for line in leftovers(parent.pid) if "chromium" in line]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
    for path in Path(tempfile.gettempdir()).glob(f"sightread-trial-*-{parent.pid}-*"):
        subprocess.run(["rm", "-r", str(path)], check=True)


def test_without_a_browser_the_trial_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    checker = CodeChecker()
    for kind, code in (("html", "<p>Hello"), ("svg", '<svg xmlns="http://www.w3.org/2000/svg"/>')):
        checked = checker.check(kind, code, 400, 300)  # type: ignore[arg-type]
        assert (checked.columns["outcome"], checked.picture) == ("no_browser", None)
        assert "apt-get install chromium" in checked.columns["message"]
    assert checker.check("python", "import os", 1, 1).columns["outcome"] == "read"
    checker.close()


def answered(folder: Path, *replies: str) -> Job:
    """A committed part with a row of code_html for each code, made from a picture."""
    picture = write_image(folder / "sign.png", text="Fresh bread daily, open from eight to four")
    recording = write_recording(
        folder / "replies.jsonl",
        *({"sample": "*", "request": number, "reply": code} for number, code in enumerate(replies)),
    )
    parameters = {"this": [str(number) for number in range(len(replies))]}
    spec = {
        "name": "code_check",
        "inputs": [str(picture)],
        "output": str(folder / "out"),
        "tasks": [{"name": "code_html", "prompt": "Like {this}", "parameters": parameters}],
        "engine": {"kind": "scripted", "recording": str(recording)},
    }
    job = prepare(parse(spec, "test"))
    rows = [{key: value for key, value in row.items() if key != "task"} for row in answer(job)]
    table = pa.Table.from_pylist(rows, schema=tables.results_schema(job.tasks[0].output.arrow_type, []))
    store, folder = store_at(job.output), JobFolder(store_at(job.output))
    assert PartLog(store).write("code_html", C, table) == "committed"
    assert View(store).publish("code_html", 0)
    folder.claim()
    folder.add_round(Round(0, "first", (0,), job.definitions, now(), who(), job.spec.model_dump(mode="json")))
    return job


def rows_of(output: str) -> list[dict[str, Any]]:
    """Of the part, as it was revised last."""
    log = PartLog.at(output)
    rows: list[dict[str, Any]] = log.read(log.last("code_html", C)).rows.to_pylist()
    return rows


@needs_browser
def test_a_part_is_tried_once_and_again_when_there_is_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = ("<html><p>Fresh bread</p><img src='http://127.0.0.1:9/x'></html>", "<html></html>", "no page")
    job = answered(tmp_path, *replies)
    output, operator = job.output, CodeCheck(job.output, job.tasks, job.decode)
    log = PartLog.at(output)
    part = pa.Table.from_pylist([{"chunk_id": C, "task": "code_html"}], schema=tables.CODE_UNCHECKED)
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        assert list(pending_code_checks(log, job.tasks)) == part.to_pylist()
        assert operator(part).to_pylist()[0]["outcomes"] == ["no_browser", "no_browser"]
        operator.close()
        assert list(pending_code_checks(log, job.tasks)) == []
    before = rows_of(output)
    assert [row["verified"]["ok"] for row in before] == [True, True, False]

    assert list(pending_code_checks(log, job.tasks)) == part.to_pylist()
    (row,) = operator(part).to_pylist()
    operator.close()
    assert (row["rows"], row["outcomes"], row["message"]) == (2, ["shown", "shown"], None)
    assert list(pending_code_checks(log, job.tasks)) == []
    first, blank, nothing = rows_of(output)
    assert first["verified"]["faults"] == ["reaches_out"]
    assert first["verified"]["code_check"]["refused"] == ["image http://127.0.0.1:9/x"]
    assert blank["verified"]["faults"] == ["shows_nothing"]
    assert (nothing["status"], nothing["verified"]["code_check"]) == ("invalid_output", None)
    # the window is as wide as the picture
    with Image.open(Path(output) / first["verified"]["code_check"]["screenshot"]) as screenshot:
        assert screenshot.width == 320
    # all else is as it was
    for row, other in zip(rows_of(output), before, strict=True):
        assert {**row, "verified": None} == {**other, "verified": None}

    view, results = View(store_at(output)), Results.at(output)
    assert view.publish("code_html", 0)
    shown = results.rows("code_html").read_all().to_pylist()
    assert [row["verified"] for row in shown] == [row["verified"] for row in rows_of(output)]

    (again,) = reparse(store_at(output), {"code_html": job.spec})
    assert (again.rows, again.changed) == (3, 0)


@pytest.mark.parametrize("chunk_id", [chunk("gone"), "gone"])
def test_what_cannot_be_written_is_told(tmp_path: Path, chunk_id: str) -> None:
    operator = CodeCheck(str(tmp_path), (find("code_html"),), DecodeSettings())
    part = pa.Table.from_pylist([{"chunk_id": chunk_id, "task": "code_html"}], schema=tables.CODE_UNCHECKED)
    (row,) = operator(part).to_pylist()
    assert chunk_id in row["message"]
    operator.close()
