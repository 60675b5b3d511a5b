"""Nothing runs from the folder where one stands, unless the spec names it."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.cli import main
from schemas.checkout import NANO
from tests.support.world import ROOT, World, write_pdf, write_recording

BAIT = (
    *("colorsys.py", "operators/__init__.py", "jobs/__init__.py", "sitecustomize.py", "usercustomize.py", "numpy.py"),
    *("ray.py", "json.py", "argparse.py", "pyvenv.cfg", ".env"),
)
_IN_ACCESS, _IN_OPEN = 0x1, 0x20


@contextmanager
def opened_files(*folders: Path) -> Iterator[list[str]]:
    """The names of files in the folders that any process opens or reads meanwhile (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        pytest.skip("no inotify on this machine")
    names: list[str] = []
    try:
        for folder in folders:
            assert libc.inotify_add_watch(fd, os.fsencode(folder), _IN_ACCESS | _IN_OPEN) > 0
        yield names
        data = b""
        while True:
            try:
                data += os.read(fd, 1 << 16)
            except BlockingIOError:
                break
        while data:
            length = struct.unpack_from("iIII", data)[3]
            if length:  # else the folder itself
                names.append(data[16 : 16 + length].rstrip(b"\0").decode())
            data = data[16 + length :]
    finally:
        os.close(fd)


def sightread(world: World, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "jobs.cli", *arguments],
        cwd=folder,
        env={**world.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_a_run_in_a_folder_of_a_stranger_opens_none_of_its_modules(world: World) -> None:
    trap = world.folder / "trap"
    for name in BAIT:
        (trap / name).parent.mkdir(parents=True, exist_ok=True)
        (trap / name).write_text(f"open({str(world.folder / 'sprung')!r}, 'a').write(__file__)\n")
    write_pdf(trap / "a.pdf", pages=2)
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "text"})
    world.spec["inputs"] = ["."]
    world.spec["tasks"] = ["ocr"]
    folders = {trap, *((trap / name).parent for name in BAIT)}
    with opened_files(*folders) as names:
        (trap / "a.pdf").read_bytes()
        sightread(world, trap, "plan", str(world.spec_file))
        sightread(world, trap, "run", str(world.spec_file))
    assert "a.pdf" in names, "a watch that sees nothing proves nothing"
    assert not {Path(name).name for name in BAIT} & set(names)
    assert not (world.folder / "sprung").exists()
    assert len(world.rows("ocr")) == 2


@pytest.mark.slow
def test_a_task_in_a_module_is_loaded_from_where_one_stands_and_from_beside_the_spec(world: World) -> None:
    module = "from dataclasses import replace\nfrom pipelines.tasks.ocr import TASK as OCR\n\n\n"
    module += "def prompt_free(text, view):\n    return OCR.parse(text, view)\n\n\n"
    here = world.folder / "here"
    here.mkdir()
    for folder, name in ((here, "first"), (world.folder, "second")):
        (folder / f"{name}_module.py").write_text(f"{module}TASK = replace(OCR, name={name!r}, parse=prompt_free)\n")
        (folder / "colorsys.py").write_text("raise AssertionError('it hides a module')\n")
    write_pdf(world.inputs / "a.pdf", pages=1)
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "text"})
    world.spec["tasks"] = ["first_module:TASK", "second_module:TASK"]
    planned = sightread(world, here, "plan", str(world.spec_file))
    assert f"code     runs first_module:TASK of {here}/first_module.py" in planned
    assert f"code     runs second_module:TASK of {world.folder}/second_module.py" in planned
    sightread(world, here, "run", str(world.spec_file))
    assert [world.rows(task)[0]["status"] for task in ("first", "second")] == ["ok", "ok"]


def test_plan_tells_options_that_an_engine_takes_as_they_are(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    write_pdf(world.inputs / "a.pdf", pages=1)
    world.spec["engine"] = {"kind": "vllm", "model": str(NANO), "options": {"worker_cls": "theirs.Worker"}}
    assert main(["plan", str(world.spec_file)]) == 0
    assert "code     runs what engine.options name, where they name code: worker_cls" in capsys.readouterr().out
