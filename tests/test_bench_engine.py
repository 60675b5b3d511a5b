"""`sightread bench engine` on a shape that takes seconds: the peers agree on every token, the table has all rows."""

from __future__ import annotations

import pytest

from jobs.cli import main
from model.bench_shapes import SHAPES, Shape


def test_the_table_has_every_peer_and_they_write_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tests.reference  # noqa: F401  lets transformers be imported beside this torchvision

    vision = {"hidden_size": 64, "intermediate_size": 96, "depth": 2, "num_heads": 2}
    monkeypatch.setitem(SHAPES, "small", Shape(64, 2, 2, 1, 96, True, vision))
    monkeypatch.setenv("COLUMNS", "160")
    line = "bench engine --shape small --dtype float32 --prompts 3 --tokens 4 --page 64x96 --rounds 2"
    assert main(line.split()) == 0
    rows = [row for row in capsys.readouterr().out.splitlines() if "float32" in row]
    assert [row.split("│")[2].strip() for row in rows] == ["sightread", "transformers, batched", "transformers, single"]
    assert all("100 %" in row for row in rows)


def test_a_shape_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "engine", "--shape", "7b"]) == 2
    assert "'7b' is none of 2b, 4b, 8b, 32b" in capsys.readouterr().err
