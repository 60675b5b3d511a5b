"""A run from one container of Azure Blob Storage into another, against Microsoft's own emulator. Without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jobs.cli import main
from operators.store.bucket import BucketStore
from operators.store.objects import Bucket
from operators.store.results import Results
from schemas.errors import InputError, StoreLost
from tests.support.azurite import Azurite
from tests.support.world import write_image, write_recording


def test_a_run_from_and_to_a_container(azure: Azurite, in_process: Path, capsys: pytest.CaptureFixture[str]) -> None:
    container = azure.new_container()
    for number in range(3):
        picture = write_image(in_process / f"{number}.png").read_bytes()
        assert BucketStore(container).put_if_absent(f"in/{number}.png", picture)
    recording = write_recording(in_process / "r.jsonl", {"sample": "*", "task": "*", "reply": "text"})
    spec = {
        "name": "n", "inputs": [f"{container}/in/"], "tasks": ["ocr"], "output": f"{container}/out",
        "engine": {"kind": "scripted", "recording": str(recording)}, "limits": {"chunk_units": 1},
    }  # fmt: skip
    Path("spec.yaml").write_text(yaml.safe_dump(spec))
    assert main(["run", "spec.yaml"]) == 0
    assert main(["run", "spec.yaml"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    rows = Results.at(f"{container}/out").rows("ocr", ("input_uri", "status")).read_all().to_pylist()
    assert sorted((row["input_uri"], row["status"]) for row in rows) == [
        (f"{container}/in/{number}.png", "ok") for number in range(3)
    ]


@pytest.mark.parametrize("key", ["a b#c?d%20e.png", "ü/é.png", "a+b&c=d.txt", "a~b*'[]{}.png"])
def test_any_key_that_a_container_takes(azure: Azurite, key: str) -> None:
    store = BucketStore(azure.new_container())
    assert store.put_if_absent(key, b"x")
    assert (store.list(), store.open(key).read()) == ([key], b"x")


def test_what_is_not_there_and_who_is_not_let_in(azure: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"^az://no-such-container is not there$"):
        BucketStore("az://no-such-container").put_if_absent("a", b"")
    container = azure.new_container()
    wrong = azure.connection_string.replace("AccountKey=", "AccountKey=AAAA")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", wrong)
    with pytest.raises((InputError, StoreLost), match=r"status 403, Auth[a-zA-Z]+: Server failed to authenticate"):
        Bucket(container).check()
