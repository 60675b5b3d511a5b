"""Inputs of the Hugging Face hub, through the real huggingface_hub, from a server that answers as the hub does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from huggingface_hub import constants

from operators.store.inputs import hub_origin
from operators.store.inputs.hub_origin import HubOrigin
from operators.store.inputs.local_copy import local_copy
from operators.store.inputs.opened_input import opened_input
from operators.store.inputs.origin import ORIGINS, Entry
from schemas.errors import InputError, SpecError, StoreLost
from schemas.fetch import FetchSettings
from tests.support.hub_server import TOKEN, Hub
from tests.support.web_server import web_server

SET = "hf://datasets/tests/set"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with web_server(tmp_path) as server:
        hub = Hub(server)
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("SIGHTREAD_CACHE_MB", "100")
        yield hub


def test_a_file_of_the_hub_is_an_open_file_of_one_commit(hub: Hub) -> None:
    first = hub.push(a_bin=b"first" * 100, pages__b_png=b"b", pages__c_png=b"c")
    origin = HubOrigin(FetchSettings())
    assert [*origin.list(f"{SET}/pages")] == [Entry(f"{SET}/pages/{name}.png", 1, first) for name in "bc"]
    assert len([*origin.list(SET)]) == 3
    assert [*origin.list(f"{SET}/none/")] == []
    with opened_input(f"{SET}/a.bin") as opened:
        assert (opened.version, os.pread(opened.fd, 1000, 0)) == (first, b"first" * 100)
    second = hub.push(a_bin=b"second")
    assert b"".join(origin.pieces(f"{SET}/a.bin", first)) == b"first" * 100
    assert b"".join(origin.pieces(f"{SET}@{first}/a.bin", None)) == b"first" * 100
    assert b"".join(origin.pieces(f"{SET}/a.bin", None, 1, 3)) == b"ec"
    assert origin.stat(f"{SET}/a.bin") == Entry(f"{SET}/a.bin", 6, second)
    assert next(iter(origin.list(f"{SET}@{first}/pages"))).address == f"{SET}@{first}/pages/b.png"


def test_a_folder_of_the_hub_becomes_one_of_this_node(hub: Hub) -> None:
    hub.push(model__config_json=b"{}", model__a_safetensors=b"1", model__a_bin=b"2", model__more__b_json=b"3")
    copy = local_copy(f"{SET}/model", (".json", ".safetensors"), FetchSettings())
    hub.push(model__config_json=b"other")
    assert {path.name: path.read_bytes() for path in copy.path().iterdir()} == {
        "config.json": b"{}",
        "a.safetensors": b"1",
    }


def test_what_is_cut_off_goes_on(hub: Hub) -> None:
    hub.push(a_bin=b"0123456789" * 100)
    hub.cuts[:] = [1, 500, 3]
    assert b"".join(HubOrigin(FetchSettings()).pieces(f"{SET}/a.bin", None)) == b"0123456789" * 100
    parts = [headers.get("Range") for _, path, headers in hub.server.requests if path.startswith("/cdn/")]
    assert parts == [None, "bytes=3-", "bytes=503-", "bytes=504-"]


def test_what_is_not_there_is_a_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.push(a_bin=b"a")
    origin = HubOrigin(FetchSettings())
    for address in (
        f"{SET}/none",
        f"{SET}@none/a.bin",
        "hf://datasets/tests/other/a.bin",
        "hf://alone",
        "hf://a/b--c/d",
    ):
        with pytest.raises(InputError) as caught:
            origin.stat(address)
        assert (caught.value.kind, TOKEN in str(caught.value)) == ("not_found", False)
    with pytest.raises(SpecError, match="inputs: hf://datasets/tests/other is not there, or not for this token"):
        [*origin.list("hf://datasets/tests/other")]
    asked = len(hub.server.requests)
    for path in ("/../../../../api/whoami-v2", "@../a", "@main/./a", "/a/.."):
        with pytest.raises(InputError, match="has no such path"):
            origin.stat(f"{SET}{path}")
    assert len(hub.server.requests) == asked
    with pytest.raises(InputError, match="is all of a repository"):
        origin.stat(SET)
    origin.check(f"{SET}/pages/")
    with pytest.raises(InputError, match="hf://datasets/tests/other is not there, or not for this token"):
        origin.check("hf://datasets/tests/other/a")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set") as caught:
        origin.stat(f"{SET}/a.bin")
    assert caught.value.kind == "unreachable"


@pytest.mark.parametrize("place", sorted({*ORIGINS.values()}))
def test_every_origin_has_every_verb(place: str) -> None:
    module, _, name = place.partition(":")
    made = getattr(import_module(module), name)(FetchSettings())
    assert all(callable(getattr(made, verb)) for verb in ("check", "stat", "list", "pieces"))


def test_a_hub_that_is_gone_is_lost_like_a_bucket(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("SIGHTREAD_STORE_PATIENCE_S", "0.5")
    with pytest.raises(StoreLost, match="hf://datasets/tests/set/a does not answer"):
        HubOrigin(FetchSettings()).stat(f"{SET}/a")
    monkeypatch.setattr(hub_origin, "FIRST_PATIENCE_S", 0.1)
    with pytest.raises(InputError, match="check the network, or HF_ENDPOINT"):
        HubOrigin(FetchSettings()).check(f"{SET}/a")
