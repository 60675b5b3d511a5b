"""`model: nano` is the checkpoint that ships: for whichever engine, wherever one stands, on whichever node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.load import parse
from model.engines.kinds import engine_kind
from model.network.hub import resolve, to_be_fetched
from pipelines import engine_files
from pipelines.job import prepare
from schemas.checkout import NANO
from schemas.engines import torch, vllm
from schemas.errors import SpecError


@pytest.mark.parametrize("spec", [torch.Spec(model="nano"), vllm.Spec(model="nano")], ids=lambda spec: spec.kind)
def test_it_is_found_from_anywhere(spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()  # a folder of that name is ./nano
    kind = engine_kind(spec)
    assert (kind.folder, kind.model) == (NANO, "nano")
    assert not to_be_fetched("nano")
    with pytest.raises(SpecError):
        resolve("./nano")


def test_each_node_takes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster the checkout is a working directory, elsewhere on each node."""
    spec = {
        "name": "near", "inputs": str(tmp_path), "tasks": ["ocr"], "engine": {"model": "nano"},
        "output": str(tmp_path / "out"),
    }  # fmt: skip
    job = prepare(parse(spec, "test"))
    assert job.infer.provenance.model == "nano"
    assert job.infer.localize is not None
    monkeypatch.setattr(engine_files, "NANO", Path("/there/model/nano/checkpoint"))
    there: Any = job.infer.localize(job.infer.engine)
    assert there.model == "/there/model/nano/checkpoint"
    assert replace(there, model=str(NANO)) == job.infer.engine
