"""A new store is one module and one line, as docs/extending-store.md says: done in a copy, with a job run on it."""

from __future__ import annotations

import filecmp
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.support.world import ROOT, World, write_pdf, write_recording

pytestmark = pytest.mark.slow


def test_a_store_is_one_module_and_one_line(world: World) -> None:
    text = (ROOT / "docs" / "extending-store.md").read_text(encoding="utf-8")
    module = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    line = re.search(r"^2\. The line: `(.*?)`", text, re.MULTILINE)
    assert module is not None
    assert line is not None
    copy = world.folder / "checkout"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)

    (copy / "operators" / "store" / "flat.py").write_text(module[1])
    table = copy / "operators" / "store" / "addresses.py"
    table.write_text(table.read_text().replace("SCHEMES = {\n", f"SCHEMES = {{\n    {line[1]}\n"))

    touched = [name for name in names if not filecmp.cmp(ROOT / name, copy / name, shallow=False)]
    assert touched == ["operators/store/addresses.py"]
    assert len(table.read_text().splitlines()) == len((ROOT / touched[0]).read_text().splitlines()) + 1

    write_pdf(world.inputs / "a.pdf", pages=2)
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "the text of unit {unit}"})
    address = f"flat://{world.output}"
    world.spec |= {"tasks": ["ocr"], "output": address}
    for command in (("run", str(world.spec_file)), ("show", address)):
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", *command],
            cwd=copy, env=world.environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert "the text of unit 0" in done.stdout
    assert "the text of unit 1" in done.stdout
    files = {path.name for path in world.output.iterdir() if path.is_file()}
    assert {"_job%2Fidentity.json", "_job%2Fsummary.json"} < files
    assert any(name.startswith("results%2Ftask%3Docr%2Fpart-") for name in files)
    spec = yaml.safe_load((world.output / "_job%2Fspec.yaml").read_text())
    assert spec["output"] == address
    world.nothing_left()
