"""Folders, globs and tables of the hub are listed like those of a bucket."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import SpecError
from tests.support.hub_server import TOKEN, Hub
from tests.support.web_server import web_server
from tests.test_listing_addresses import PNG, listed, outcomes

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


def test_a_data_set_is_listed_like_a_bucket(hub: Hub) -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"path": ["pages/a.png", "../none.png", f"{SET}/pages/b.png"]}), table)
    commit = hub.push(pages__a_png=PNG, pages__b_png=PNG, list_parquet=table.getvalue(), README_md=b"text")
    listing = listed(SET, f"{SET}/pages/[b-z]*.png", f"{SET}/*.parquet", f"{SET}/no*.png", f"{SET}/pages/{{a,c}}.png")
    assert outcomes(listing, f"{SET}/") == [
        ("pages/a.png", "image", None),
        ("pages/b.png", "image", None),
        ("pages/a.png", "image", None),
        ("hf://datasets/tests/none.png", "image", None),  # who reads it learns that there is no such thing
        ("pages/b.png", "image", None),
        ("no*.png", "image", "not_found"),
        ("pages/c.png", "image", "not_found"),
    ]
    assert listing.inputs["version"].to_pylist()[0] == commit
    in_folder = "table in a folder (those that are named are read: *.parquet)"
    assert listing.skipped == {"named twice": 2, "unknown type .md": 1, in_folder: 1}


def test_a_data_set_that_is_not_there_is_one_sentence(hub: Hub) -> None:
    hub.push(a_png=PNG)
    for entry in ("hf://datasets/tests/none/a.png", "hf://datasets/tests/none/", "hf://datasets"):
        with pytest.raises(SpecError, match=r"^inputs: hf://datasets"):
            listed(entry)
