"""Adding a command as docs/extending-command.md tells it: its file is all there is to write."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pyarrow as pa
import pytest

import jobs.commands
from jobs.command import add_commands
from operators.store.addresses import store_at
from operators.store.part_log import PartLog
from operators.store.view import View
from schemas.checkout import ROOT
from schemas.tables import results_schema
from tests.support.parts import chunk

PAGE = (ROOT / "docs" / "extending-command.md").read_text(encoding="utf-8")
NAME = "jobs/commands/count.py"


def test_the_file_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = dict(re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    assert list(files) == [NAME]
    assert not (ROOT / NAME).exists()
    (tmp_path / "count.py").write_text(files[NAME], encoding="utf-8")
    monkeypatch.setattr(jobs.commands, "__path__", [*jobs.commands.__path__, str(tmp_path)])
    output = str(tmp_path / "out")
    PartLog.at(output).write("ocr", chunk("c"), results_schema(pa.string(), []).empty_table())
    View(store_at(output)).publish("ocr", 0)

    parser = argparse.ArgumentParser()
    add_commands(parser, ["jobs.commands.count"], metavar="command")

    assert "count the rows of each task of a job" in " ".join(parser.format_help().split())
    options = parser.parse_args(["count", output])
    assert options.run(options) == 0
    assert capsys.readouterr().out == "ocr 0\n"
