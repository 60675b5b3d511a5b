"""A real vLLM server on loopback, and the nano checkpoint behind it: through `openai`, a job says what it says
through our own engine.

Needs an interpreter that has vLLM: SIGHTREAD_VLLM_PYTHON, or what scripts/setup-vllm makes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.demo_media import write_demo_media
from jobs.load import parse
from pipelines.job import prepare
from pipelines.local import answer
from schemas.checkout import NANO as CHECKPOINT
from tests.support.servers import free_port
from tests.support.world import ROOT, World
from tests.test_nano_peers import SITE

VLLM = os.environ.get("SIGHTREAD_VLLM_PYTHON") or str(ROOT / ".venv-vllm" / "bin" / "python")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(VLLM).exists(), reason="no interpreter that has vLLM"),
    pytest.mark.skipif(not CHECKPOINT.exists(), reason="no checkpoint is shipped"),
    pytest.mark.timeout(900),
]


@pytest.fixture
def address(world: World, tmp_path: Path) -> Iterator[str]:
    """Of a vLLM server that has loaded the nano checkpoint and wants a key."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    port, log = free_port(), tmp_path / "vllm.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [
                *(VLLM, "-m", "vllm.entrypoints.openai.api_server", "--model", str(CHECKPOINT)),
                *("--dtype", "float32", "--enforce-eager", "--max-model-len", "4096", "--trust-request-mm-kwargs"),
                *("--host", "127.0.0.1", "--port", str(port), "--api-key", "open sesame"),
            ],
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("VLLM_")},
                "PYTHONPATH": str(tmp_path / "site"),
                "HF_HUB_OFFLINE": "1",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "OMP_NUM_THREADS": "1",
            },
            cwd=tmp_path,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        world.wait_for(lambda: _answers(server, port, log), timeout_s=400)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(server: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    assert server.poll() is None, log.read_text()[-3000:]
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as said:
        return bool(said.status == 200)


def test_rows_are_those_of_our_own_engine(world: World, address: str) -> None:
    write_demo_media(world.inputs)
    world.spec["tasks"] = ["ocr", "caption", {"name": "events", "max_tokens": 200}]
    world.spec["engine"] = {
        "kind": "openai", "url": address, "model": str(CHECKPOINT), "api_key_env": "VLLM_KEY", "slots": 16,
    }  # fmt: skip
    world.variables["VLLM_KEY"] = "open sesame"
    world.run(timeout_s=600)
    keys = ("input_uri", "unit_index", "status", "text", "finish_reason", "prompt_tokens", "output_tokens")
    theirs = {
        task: [{key: row[key] for key in keys} for row in world.rows(task)] for task in ("ocr", "caption", "events")
    }

    world.spec["engine"] = {"kind": "torch", "model": str(CHECKPOINT), "dtype": "float32"}
    ours: dict[str, list[dict[str, Any]]] = {task: [] for task in theirs}
    for row in answer(prepare(parse(world.spec, "spec"))):
        ours[row["task"]].append({key: row[key] for key in keys})
    for rows in ours.values():
        rows.sort(key=lambda row: (row["input_uri"], row["unit_index"]))

    assert theirs == ours
    assert {task: len(rows) for task, rows in ours.items()} == {"ocr": 6, "caption": 4, "events": 1}
    assert len({row["text"] for rows in ours.values() for row in rows}) >= 9, "replies that are alike prove little"
