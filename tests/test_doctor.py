"""`sightread doctor`: a machine and a server in every state that it knows, made here and told apart."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs import machine
from jobs.bench.shapes import config_json
from jobs.canary import canary
from jobs.cli import main
from jobs.machine import Gpu
from model.engines import openai_kind, scripted_kind
from model.network.config import Config
from model.network.memory import SIZES, gpus, needed_gb, size_of, splits
from model.network.qwen3vl import Qwen3VL
from schemas.checkout import NANO as CHECKPOINT
from schemas.finding import Finding
from tests.support.servers import MODEL, serving
from tests.support.world import write_recording

H100 = Gpu("NVIDIA H100 80GB HBM3", 81_559, 80_994, "580.95.05")


def lines(said: str, level: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(f"{level} ")]


@pytest.mark.parametrize("name", ["2b", "4b", "8b", "32b"])
def test_parameters_are_those_of_the_network(name: str) -> None:
    with torch.device("meta"):
        network = Qwen3VL(Config.from_json(config_json(name)))
    assert SIZES[name.upper()].parameters == sum(each.numel() for each in network.parameters())


def test_experts_count_and_published_needs() -> None:
    """Names say 30B and 235B; vLLM's recipes say 564, 282 and 72 GB."""
    assert SIZES["30B-A3B"].parameters / 1e9 == pytest.approx(31, abs=0.5)
    assert SIZES["235B-A22B"].parameters / 1e9 == pytest.approx(235, abs=1)
    assert needed_gb(SIZES["235B-A22B"], "bf16") == pytest.approx(564, rel=0.02)
    assert needed_gb(SIZES["235B-A22B"], "fp8") == pytest.approx(282, rel=0.02)
    assert needed_gb(SIZES["30B-A3B"], "bf16") == pytest.approx(72, rel=0.05)


@given(st.sampled_from(list(SIZES.values())), st.sampled_from(["bf16", "fp8"]), st.floats(1, 1000), st.floats(1, 1000))
def test_larger_gpus_are_fewer(size: Any, precision: Any, one_gb: float, other_gb: float) -> None:
    small, large = (gpus(size, precision, each) or 16 for each in sorted((one_gb, other_gb)))
    assert large <= small
    if small < 16:
        assert small * min(one_gb, other_gb) >= needed_gb(size, precision)


def test_fp8_experts_are_cut_in_whole_blocks() -> None:
    """vllm issues 17569 and 25292."""
    assert [count for count in (1, 2, 4, 8) if splits(SIZES["235B-A22B"], "fp8", count)] == [1, 2, 4]
    assert [count for count in (1, 2, 4, 8) if splits(SIZES["30B-A3B"], "fp8", count)] == [1, 2]
    assert splits(SIZES["235B-A22B"], "bf16", 8)
    assert splits(SIZES["32B"], "fp8", 8)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", ("8B", "bf16")),
        ("Qwen/Qwen3-VL-235B-A22B-Thinking-FP8", ("235B-A22B", "fp8")),
        ("/models/qwen3-vl-30b-a3b-instruct", ("30B-A3B", "bf16")),
        ("Qwen/Qwen3-VL-128B", None),
    ],
)
def test_the_size_that_a_name_says(model: str, size: Any) -> None:
    assert size_of(model) == size


def test_gpus_as_nvidia_smi_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, 80994, 580.95.05'\necho 'Odd, [N/A], [N/A], 1'\n")
    tool.chmod(0o755)
    assert machine.gpus() == [H100]
    tool.write_text("#!/bin/sh\necho 'no devices'; exit 9\n")
    assert machine.gpus() == []


@pytest.mark.parametrize(
    ("cards", "cuda", "wanted", "level", "word"),
    [
        ([], None, 0, "ok", "none"),
        ([], None, 2, "fail", "the spec asks for 2"),
        ([H100] * 2, "13.0", 2, "ok", "2 x NVIDIA H100"),
        ([H100], "13.0", 2, "fail", "the spec asks for 2"),
        ([H100], None, 1, "fail", "built for CPUs"),
        ([H100], None, 0, "note", "built for CPUs"),
        ([Gpu("A100", 81_000, 81_000, "535.104.05")], "13.0", 0, "fail", "built for CUDA 13.0"),
        ([Gpu("A100", 81_000, 81_000, "535.104.05")], "12.8", 1, "ok", "A100"),
    ],
)
def test_gpus_driver_and_torch(
    monkeypatch: pytest.MonkeyPatch, cards: list[Gpu], cuda: str | None, wanted: float, level: str, word: str
) -> None:
    monkeypatch.setattr(machine, "cuda_of_torch", lambda: cuda)
    (found,) = machine.about_gpus(cards, wanted)
    assert found.level == level
    assert word in found.message


def test_what_torch_is_built_for_is_read_without_importing_it() -> None:
    assert machine.cuda_of_torch() == torch.version.cuda


def distribution(folder: Path, name: str, version: str, *requires: str) -> None:
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir()
    wanted = "".join(f"Requires-Dist: {each}\n" for each in requires)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}")


def test_vllm_wants_the_torch_that_it_was_compiled_against(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have = machine.installed("torch")
    assert have is not None
    monkeypatch.setattr(machine, "cuda_of_torch", lambda: None)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    if machine.installed("vllm") is None:
        assert "not installed" in machine.vllm_fits_torch()[0].message
    distribution(tmp_path, "vllm", "0.99.0", "torch==9.9.9", "numpy")
    (found,) = machine.vllm_fits_torch()
    assert (found.level, "wants torch==9.9.9" in found.message) == ("fail", True)

    shutil.rmtree(tmp_path / "vllm-0.99.0.dist-info")
    distribution(tmp_path, "vllm", "0.99.1", f"torch=={have.split('+')[0]}")
    assert [each.level for each in machine.vllm_fits_torch()] == ["ok"]
    distribution(tmp_path, "torchaudio", "2.11.0")
    (found,) = machine.vllm_fits_torch()
    assert found.fix == "pip uninstall -y torchaudio"


def test_disks_and_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(total: int, free: int) -> Any:
        return lambda _: SimpleNamespace(total=total, free=free, used=total - free)

    gb = 10**9
    monkeypatch.setattr(shutil, "disk_usage", usage(100 * gb, 50 * gb))
    assert [each.level for each in machine.disk(tmp_path / "not/yet/there")] == ["ok", "ok"]
    assert machine.shared_memory(4).level == "ok"
    monkeypatch.setattr(shutil, "disk_usage", usage(100 * gb, 3 * gb))
    assert [each.level for each in machine.disk(tmp_path)] == ["note", "fail"]
    monkeypatch.setattr(shutil, "disk_usage", usage(64 << 20, 64 << 20))  # Docker's
    assert machine.shared_memory(0).fix == "start the container with --shm-size=2g"


def test_few_cores_for_many_gpus() -> None:
    assert machine.cores(0).level == "ok"
    assert machine.cores(10_000).level == "note"


def test_a_line_that_fails_says_what_to_do() -> None:
    with pytest.raises(AssertionError):
        Finding("fail", "x", "is broken")


@pytest.mark.skipif(not CHECKPOINT.exists(), reason="no checkpoint is shipped")
def test_a_machine_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Also: nano's canary counts 64 more tokens for 64 more squares, or there were a note on pictures."""
    code = main(["doctor"])
    said = capsys.readouterr().out
    (answered,) = [line for line in lines(said, "ok") if "canary" in line]
    assert "then 3 in" in answered
    assert "pictures" not in said
    assert "235B-A22B FP8" in said
    assert code == (1 if lines(said, "fail") else 0)


def spec(folder: Path, **engine: Any) -> str:
    path = folder / "spec.yaml"
    tasks = [
        {"name": "ocr"},
        {"name": "a", "prompt": "?", "output": {"type": "object", "properties": {"a": {"type": "string"}}}},
    ]
    content = {"name": "x", "inputs": [str(folder)], "tasks": tasks, "engine": engine, "output": str(folder / "out")}
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_server_that_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda *_: "right", reply=lambda _: '{"seen": true}') as server:
        main(["doctor", spec(tmp_path, kind="openai", url=server.url, model=MODEL)])
        kinds = {part["type"] for body in server.bodies for part in body["messages"][0]["content"]}
    said = capsys.readouterr().out
    assert any("endpoint" in line and "context of 4096 tokens" in line for line in lines(said, "ok"))
    assert any("canary" in line and "then 4 in" in line for line in lines(said, "ok"))
    # it says 11 tokens whatever it is asked
    assert any("64 more squares of 32 px made 0 more tokens" in line for line in lines(said, "note"))
    assert kinds == {"text", "image_url", "video_url"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "servd"}, ("does not list servd", "-> engine.model: served")),
        ({"url": "http://127.0.0.1:9/v1"}, ("cannot be reached", "-> start the server")),
        ({"api_key_env": "NO_SUCH_KEY"}, ("NO_SUCH_KEY is not set", "-> export it")),
        ({"kind": "torch", "model": "/no/such"}, ("there is no checkpoint folder", "-> name a")),
        ({"kind": "warp"}, ("engine.kind", "-> fix the spec")),
    ],
)
def test_what_is_wrong_with_a_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], words: tuple[str, ...]
) -> None:
    with serving(lambda *_: "right") as server:
        engine = {"kind": "openai", "url": server.url, "model": MODEL} if "kind" not in change else {}
        code = main(["doctor", spec(tmp_path, **{**engine, **change})])
        assert not server.bodies, "nothing is asked while something fails"
    said = capsys.readouterr().out
    assert code == 1
    for word in words:
        assert word in said


def test_answers_that_come_and_are_wrong(tmp_path: Path) -> None:
    def findings(reply: str, way: str = "right") -> list[Finding]:
        with serving(lambda *_: way, reply=lambda _: reply) as server:
            engine = openai_kind.Settings(url=server.url, model=MODEL)
            return canary(engine, clips=False, schema=True, load_s=60)

    (schema,) = [each for each in findings("   ", "right length") if each.about == "schema"]
    assert "disable_any_whitespace" in schema.fix
    assert [each.about for each in findings("<think>hm")].count("thinking") == 1
    refused = findings("", "400 no such thing")
    assert [(each.level, each.about) for each in refused] == [("fail", "canary")]


def test_an_engine_that_dies(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "replies.jsonl", {"fault": "exit"})
    engine = scripted_kind.Settings(recording=str(recording), slots=2)
    (found,) = canary(engine, clips=False, schema=False, load_s=60)
    assert (found.level, found.about) == ("fail", "canary")
    assert "exited with code 1" in found.message


def test_a_model_that_is_not_here_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", spec(tmp_path, kind="torch", model="nobody/Qwen3-VL-8B-Instruct")])
    (note,) = [line for line in lines(capsys.readouterr().out, "note") if "engine" in line]
    assert "is not on this machine; a run fetches it, about 18 GB" in note


def test_inputs_that_are_not_there_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = write_recording(tmp_path / "r.jsonl", {"reply": "x"})
    (tmp_path / "a.pdf").write_bytes(b"x")
    spec = {
        "name": "d", "tasks": ["ocr"], "output": str(tmp_path / "out"),
        "engine": {"kind": "scripted", "recording": str(recording)},
    }  # fmt: skip
    there = [str(tmp_path), f"{tmp_path}/*.pdf", f"{tmp_path}/{{a,a}}.pdf"]
    gone = [f"{tmp_path}/no.pdf", f"{tmp_path}/*.png", f"{tmp_path}/{{a,b}}.pdf"]
    file = tmp_path / "spec.yaml"
    for inputs, missing in ((there, []), (there + gone, ["no.pdf", "*.png", "b.pdf"])):
        file.write_text(yaml.safe_dump(spec | {"inputs": inputs}))
        main(["doctor", str(file), "--json"])
        report = json.loads(capsys.readouterr().out)
        about = [line for line in report["lines"] if line["about"] == "inputs"]
        assert [line["message"] for line in about if line["level"] == "fail"] == [
            f"there is nothing at {tmp_path}/{name}" for name in missing
        ]
        assert missing or about[0]["level"] == "ok"
