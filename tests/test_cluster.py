"""The same spec on a laptop and through `ray job submit`: the same units, and with greedy sampling the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, clustered
from tests.support.tiny import tiny_checkpoint
from tests.support.world import World, opened, write_image, write_pdf, write_recording

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all jobs of this file, in a world of its own: they find it as jobs find a cluster that others use too."""
    with opened(tmp_path_factory.mktemp("cluster")) as world, clustered(world) as cluster:
        yield cluster


def test_a_submitted_job_gives_the_same_rows(world: World, cluster: Cluster) -> None:
    write_pdf(world.inputs / "a.pdf", pages=3)
    write_image(world.inputs / "b.png")
    (world.inputs / "bad.jpg").write_bytes(b"garbage")
    world.spec["engine"] = {"kind": "torch", "model": str(tiny_checkpoint(world.folder / "tiny"))}
    world.spec["tasks"] = [{"name": "ocr", "max_tokens": 40}, {"name": "caption", "max_tokens": 40}]
    keys = ("input_uri", "unit_index", "unit_count", "page", "status", "text", "output_tokens", "spec_sha256")

    world.run()
    here = [{key: row[key] for key in keys} for task in ("ocr", "caption") for row in world.rows(task)]

    world.output = world.folder / "submitted"
    world.spec["output"] = str(world.output)
    ended = cluster.submit(world.spec_file)
    assert ended.returncode == 0, ended.stdout
    there = [{key: row[key] for key in keys} for task in ("ocr", "caption") for row in world.rows(task)]

    assert there == here
    assert len(here) == 5 + 2
    assert len({row["text"] for row in here}) >= 4, "replies that are all alike would prove nothing"

    world.spec["output"] = "out"
    refused = cluster.submit(world.spec_file)
    assert refused.returncode != 0
    assert "a Ray job needs an absolute path, not 'out'" in refused.stdout


def test_a_cluster_with_tokens_refuses_whoever_has_none(world: World, cluster: Cluster) -> None:
    write_pdf(world.inputs / "a.pdf", pages=2)
    write_recording(world.recording, {"sample": "*", "task": "*", "reply": "text"})
    world.spec["tasks"] = ["ocr"]

    assert cluster.submit(world.spec_file, token="0" * 32).returncode != 0

    world.variables = {"RAY_ADDRESS": f"127.0.0.1:{cluster.gcs_port}"}
    for wrong in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32}):
        world.variables |= wrong
        refused = world.run(code=1)
        assert "sightread: RAY_ADDRESS: 127.0.0.1:" in refused
        assert "Traceback" not in refused
        assert ("set RAY_AUTH_MODE=token" in refused) == (not wrong)
    world.variables |= {"RAY_AUTH_TOKEN": cluster.token}
    world.run()
    assert [row["status"] for row in world.rows("ocr")] == ["ok", "ok"]
    assert "asks for a token" in world.run("doctor", str(world.spec_file))
