"""`sightread bench pipeline` in small: bare engine and pipeline answer the same requests, and the table says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.bench.bare_engine import measure
from jobs.bench.inputs import write_inputs
from jobs.bench.pipeline import batch_shapes
from jobs.bench.pipeline_rounds import Peer, paced_recording, requests_of, spec_of
from jobs.bench.ray_llm import ROWS, row_of_vllm, write_requests
from jobs.cli import main
from model.engines.vllm_kind import Settings
from pipelines.job import prepare
from schemas.errors import EngineError
from schemas.request import Clip, Message, Picture, Request, Sampling
from schemas.spec import JobSpec
from tests.support.tiny import noise_picture


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_paced_run_has_both_rows_and_says_where_the_time_went(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--units",
        "20",
        "--slots",
        "4",
        "--rounds",
        "1",
        "--step-ms",
        "5",
        "--tokens",
        "2-9",
        "--workers",
        "1",
    ]
    code = main(["bench", "pipeline", *arguments])
    said = capsys.readouterr().out
    assert code == 0, said
    table = said[said.index("20 units on") :]
    assert [line.split("│")[1].strip() for line in table.splitlines() if line.startswith("│")] == [
        "bare engine",
        "sightread",
    ]
    assert "1.000" in table
    assert "of its slots in use, bottleneck: " in table
    assert "round 1 of 1: sightread: " in said


@pytest.mark.slow
def test_the_requests_of_a_job_are_known_without_asking_and_an_engine_alone_answers_them(tmp_path: Path) -> None:
    write_inputs(tmp_path / "in", 20)
    paced_recording(tmp_path / "r.jsonl", tmp_path / "in", step_s=0.0, tokens=(3, 3))
    engine = {"kind": "scripted", "recording": str(tmp_path / "r.jsonl"), "slots": 4}
    job = prepare(JobSpec.model_validate(spec_of(tmp_path / "in", tmp_path / "out", engine, {"workers": 1})))
    requests = requests_of(job)
    kinds = sorted(type(part).__name__ for each in requests for part in each.messages[0].parts[:1])
    assert kinds == ["Clip"] * 2 + ["Picture"] * 18
    assert len({each.request_id for each in requests}) == 20
    assert measure(job.infer.engine, requests).output_tokens == 60
    (tmp_path / "r.jsonl").unlink()
    with pytest.raises(EngineError, match=r"r\.jsonl cannot be read"):
        measure(job.infer.engine, requests)


def test_the_peer_gets_the_same_pixels_and_times(tmp_path: Path) -> None:
    clip = Clip((noise_picture(seed=1), noise_picture(seed=2)), (0.25, 1.5))
    contents: list[Picture | Clip] = [noise_picture(64, 32), clip]
    asked = [
        Request(str(number), (Message("user", (content, "What?")),), Sampling(seed=3))
        for number, content in enumerate(contents)
    ]
    write_requests(asked, tmp_path / "r.arrow")
    with pa.OSFile(str(tmp_path / "r.arrow"), "rb") as file:
        rows = pa.ipc.open_file(file).read_all()
    assert rows.schema == ROWS
    image, video = [row_of_vllm(row) for row in rows.to_pylist()]
    own = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(image["multimodal_data"]["image"][0]), own)
    assert "<|image_pad|><|vision_end|>What?<|im_end|>" in image["prompt"]
    frames, metadata = video["multimodal_data"]["video"][0]
    assert frames.shape == (2, 32, 64, 3)
    assert [index / metadata["fps"] for index in metadata["frames_indices"]] == [0.25, 1.5]
    assert metadata["do_sample_frames"] is False
    assert video["sampling_params"]["seed"] == 3


def test_a_peer_that_does_not_end_is_ended_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stuck = tmp_path / "python"
    stuck.write_text("#!/bin/sh\nsleep 100 & sleep 100\n")
    stuck.chmod(0o755)
    monkeypatch.setenv("SIGHTREAD_VLLM_PYTHON", str(stuck))
    peer = Peer([(32, 8)], limit_s=0.3)
    said: list[str] = []
    assert peer.choose(tmp_path, Settings(model="m"), said.append) == "it had not ended after 0.3 s"
    stuck.write_text("#!/bin/sh\necho 'ValueError: no' >&2\nexit 3\n")
    peer.limit_s = 60
    assert peer.choose(tmp_path, Settings(model="m"), said.append) == "it ended with 3: ValueError: no"
    assert len(said) == 2


def test_shapes_of_batches() -> None:
    assert batch_shapes("32x8,16x16") == [(32, 8), (16, 16)]
    assert batch_shapes("") == []
