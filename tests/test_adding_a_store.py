"""A new store is one module and one line, as docs/extending-store.md says: done in a copy, with a job run on it."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.support.checkout import Checkout
from tests.support.world import ROOT, World, write_pdf, write_recording

pytestmark = pytest.mark.slow

TABLE = "operators/store/addresses.py"


def test_a_store_is_one_module_and_one_line(world: World) -> None:
    text = (ROOT / "docs" / "extending-store.md").read_text(encoding="utf-8")
    module = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    line = re.search(r"^2\. The line: `(.*?)`", text, re.MULTILINE)
    assert module is not None
    assert line is not None
    checkout = Checkout(world.folder / "checkout", world.environment)
    checkout.add("operators/store/flat.py", module[1])
    table = checkout.folder / TABLE
    table.write_text(table.read_text().replace("SCHEMES = {\n", f"SCHEMES = {{\n    {line[1]}\n"))
    assert checkout.touched() == [TABLE]
    assert checkout.lines_added(TABLE) == 1

    write_pdf(world.inputs / "a.pdf", pages=2)
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "the text of unit {unit}"})
    address = f"flat://{world.output}"
    world.spec |= {"tasks": ["ocr"], "output": address}
    checkout.sightread("run", str(world.spec_file))
    shown = checkout.sightread("show", address)
    assert "the text of unit 0" in shown
    assert "the text of unit 1" in shown
    files = {path.name for path in world.output.iterdir() if path.is_file()}
    assert {"_job%2Fidentity.json", "_job%2Fsummary.json"} < files
    assert any(name.startswith("results%2Ftask%3Docr%2Fpart-") for name in files)
    spec = yaml.safe_load((world.output / "_job%2Fspec.yaml").read_text())
    assert spec["output"] == address
    world.nothing_left()
