"""A secret that a run needs is where it fetches, and nowhere else: a run from a bucket into a bucket with a planted
key, looked at from outside while it goes on."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path

import pytest

from operators.code_check.render_page import missing
from operators.store.bucket import BucketStore
from operators.store.part_log import PartLog
from tests.support.object_server import S3Server
from tests.support.world import World, write_image, write_recording

pytestmark = pytest.mark.slow

PAGE = "```html\n<html><body><h1>Sign</h1></body></html>\n```"
CHILDREN = ("decoder_child", "engine_child", "code_check_child", "orphan_reaper")
FETCHING = re.compile(r"jobs\.cli|pipelines\.ray_head|ray::|/ray/|gcs_server|raylet")
"""The driver and Ray's processes; a worker is one of them before it has a name."""


def test_a_planted_key_is_in_no_file_log_command_line_or_child(world: World, s3: S3Server) -> None:
    secret = f"planted{uuid.uuid4().hex}"
    bucket = s3.new_bucket()
    for number in range(4):
        s3.put(f"{bucket}/in/{number}.png", write_image(world.inputs / f"{number}.png").read_bytes())
    line = {"sample": "*", "task": "*", "reply": PAGE, "delay_s": 0.5, "asked_log": str(world.folder / "asked")}
    write_recording(world.recording, line)
    world.spec |= {"inputs": [f"{bucket}/in/"], "output": f"{bucket}/out", "tasks": ["ocr", "code_html"]}
    world.spec |= {"decode": {"workers": 1}, "limits": {"chunk_units": 1}}
    temporary = world.folder / "t"
    temporary.mkdir()
    world.variables |= {"AWS_SECRET_ACCESS_KEY": secret, "TMPDIR": str(temporary), "RAY_TMPDIR": "/tmp"}

    older = processes()  # these cannot have the key
    process = world.start("-vv", "run", str(world.spec_file))
    fetching, children, leaks = set[str](), set[str](), set[str]()
    session: Path | None = None
    while process.poll() is None:
        older &= (there := processes())
        for entry in there - older:  # also what has lost the mark of this world
            command = text_of(entry / "cmdline").replace("\0", " ")
            if secret in command:
                leaks.add(f"the command line of {command}")
            if secret in text_of(entry / "environ"):
                if not FETCHING.search(command):
                    time.sleep(0.2)  # one that begins, or takes another name, has none for a moment
                    command = text_of(entry / "cmdline").replace("\0", " ")
                if FETCHING.search(command):
                    fetching.add(command)
                elif secret in text_of(entry / "environ"):
                    leaks.add(command)
        ours = world.processes().values()
        children |= {child for child in CHILDREN for command in ours if child in command}
        if session is None and (raylet := "".join(command for command in ours if "raylet" in command)):
            session = Path(re.search(r"/tmp/sightread-ray-[^/]+", raylet)[0])  # type: ignore[index]
        if session is not None:
            leaks |= {str(path) for path in session.rglob("*") if path.is_file() and secret in text_of(path)}
        time.sleep(0.5)  # whoever reads all of /proc without a pause leaves the others little of a small machine
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    assert leaks == set()
    assert session is not None
    assert children == set(CHILDREN) - ({"code_check_child"} if missing() else set())
    assert any("jobs.cli" in command for command in fetching)
    assert any("ray::" in command for command in fetching)
    assert secret not in printed
    assert [path for path in world.folder.rglob("*") if path.is_file() and secret in text_of(path)] == []
    store = BucketStore(f"{bucket}/out")
    log = PartLog(store)
    assert [len(log.parts(task)) for task in log.tasks()] == [4, 4]
    assert len(store.list("results")) == 2
    assert [key for key in store.list() if secret.encode() in store.open(key).read()] == []


def processes() -> set[Path]:
    return set(Path("/proc").glob("[0-9]*"))


def text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:  # it is gone, or no file to read
        return ""
