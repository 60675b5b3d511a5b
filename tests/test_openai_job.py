"""Whole jobs whose engine is a server: no unit is lost to its troubles, and nobody learns the key."""

from __future__ import annotations

import itertools
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from jobs.load import parse
from pipelines.job import prepare
from pipelines.local import answer
from schemas.errors import EngineError
from tests.support.cluster import clustered
from tests.support.servers import MODEL, Server, serving
from tests.support.world import World, write_image, write_pdf

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KEY = f"sk-planted-{uuid.uuid4().hex}"  # made here: Ray keeps a copy of this file too
KEY_NAME = "SIGHTREAD_TEST_KEY"
STATES = ("actors", "workers", "nodes", "jobs", "runtime_envs")
TROUBLES = ("429 0.2", "429", "500", "half", "garbage", "cut", "hang")


def engine(server: Server) -> dict[str, Any]:
    return {"kind": "openai", "url": server.url, "model": MODEL, "api_key_env": KEY_NAME, "slots": 6, "stall_s": 3}


def places_of(word: str, folder: Path) -> list[str]:
    """Files below the folder that hold the word. Sockets and the like are none."""
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and word.encode() in path.read_bytes()]


def test_troubles_cost_no_unit_and_the_key_stays_where_it_is(world: World) -> None:
    write_pdf(world.inputs / "a.pdf", pages=1)
    for number in range(len(TROUBLES)):
        write_image(world.inputs / f"{number}.png", f"Sign {number}")
    first_asks = itertools.count()

    def manners(text: str, before: int) -> str:
        if "Doomed" in text:
            return "500"
        if before:
            return "right"
        return TROUBLES[next(first_asks)]

    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    # the error of the second repeats the header that came with the request
    doomed = {"name": "doomed", "prompt": "Doomed", "output": schema, "units": ["page"]}
    world.spec["tasks"] = ["caption", doomed]
    world.spec["decode"] = {"workers": 1}
    world.variables[KEY_NAME] = KEY
    with serving(manners, key=KEY, reply=lambda _: "what is read") as server:
        world.spec["engine"] = engine(server)
        with clustered(world) as cluster:
            ended = cluster.submit(world.spec_file, timeout_s=500)
            assert ended.returncode == 0, ended.stdout
            told = {
                place: cluster.ask(place)
                for place in ("/api/jobs/", *(f"/api/v0/{what}?detail=1" for what in STATES), "/nodes?view=summary")
            }
            left = places_of(KEY, cluster.folder)
            # the search finds what is there
            assert places_of(str(world.spec_file), cluster.folder)
            assert str(world.spec_file) in told["/api/jobs/"]
            assert "Infer" in told["/api/v0/actors?detail=1"]
        assert {number for body, number in server.asked.items() if "Doomed" not in body} == {2}

    rows = world.rows("caption")
    assert len(rows) == len(TROUBLES)
    assert {(row["status"], row["text"], row["finish_reason"]) for row in rows} == {("ok", "what is read", "stop")}
    assert {(row["prompt_tokens"], row["output_tokens"]) for row in rows} == {(11, 7)}
    (failed,) = world.rows("doomed")
    assert failed["status"] == "engine_failed"
    assert "asked 6 times: HTTP 500: trouble with Bearer ***" in failed["error"]["message"]

    assert left == []
    assert [place for place, text in told.items() if KEY in text] == []
    assert KEY not in ended.stdout
    assert places_of(KEY, world.folder) == []
    assert KEY not in json.dumps([*rows, failed], default=str)  # Parquet is compressed: as it is read
    specs = {str(world.output / "_job" / name) for name in ("spec.yaml", "rounds/00000.json")}
    assert set(places_of(KEY_NAME, world.output)) == specs


def test_a_key_that_is_missing_or_wrong_is_one_sentence_and_the_job_goes_on_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(world.inputs / "b.png")
    world.spec["tasks"] = ["ocr"]
    with serving(lambda *_: "right", key=KEY) as server:
        world.spec["engine"] = engine(server)
        said = world.run(code=1)
        (sentence,) = [line for line in said.splitlines() if line.startswith("sightread: ")]
        assert f"environment variable {KEY_NAME} is not set" in sentence
        monkeypatch.setenv(KEY_NAME, "wrong")
        with pytest.raises(EngineError, match=f"refuses the key in {KEY_NAME}: HTTP 401"):
            list(answer(prepare(parse(world.spec, "spec"))))
        assert world.parts() == []
        world.variables[KEY_NAME] = KEY
        world.run()
    assert [row["status"] for row in world.rows("ocr")] == ["ok"]
