"""Listing: every file is an input, or counted as left out, or an input that says it is missing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import listing
from pipelines.listing import list_inputs
from schemas import tables
from schemas.errors import SpecError


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(listing: object) -> list[str]:
    return [Path(uri).name for uri in listing.inputs.column("input_uri").to_pylist()]  # type: ignore[attr-defined]


def test_a_folder_is_walked_in_order_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "b.pdf",
        "_a.PDF",
        "c/d.jpg",
        ".hidden.pdf",
        ".git/x.pdf",
        "c/_SUCCESS",
        "c/e.txt",
        "out/p.png",
    )
    listing = list_inputs((str(tmp_path),), tmp_path / "out")
    assert names(listing) == ["_a.PDF", "b.pdf", "d.jpg"]  # a leading underscore hides nothing
    assert listing.skipped == {
        "hidden file": 1,
        "hidden folder": 1,
        "unknown type _SUCCESS": 1,
        "unknown type .txt": 1,
        "the job's own output": 1,
    }


def test_a_missing_path_is_an_input_with_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "a.pdf")
    entries = (str(tmp_path / "gone.pdf"), str(tmp_path / "a.pdf"), str(tmp_path / "no*.pdf"))
    rows = list_inputs(entries, tmp_path / "out").inputs.to_pylist()
    assert [row["error"] and row["error"]["kind"] for row in rows] == ["not_found", None, "not_found"]
    assert [row["media"] for row in rows] == ["document"] * 3


def test_a_file_that_comes_up_twice_is_read_once(tmp_path: Path) -> None:
    fill(tmp_path, "a.pdf", "b.pdf")
    entries = (str(tmp_path / "a.pdf"), str(tmp_path), str(tmp_path / "*.pdf"))
    listing = list_inputs(entries, tmp_path / "out")
    assert names(listing) == ["a.pdf", "b.pdf"]
    assert listing.skipped == {"named twice": 3}


def test_a_named_file_of_unknown_type_is_an_input(tmp_path: Path) -> None:
    fill(tmp_path, "scan.bin")
    listing = list_inputs((str(tmp_path / "scan.bin"),), tmp_path / "out")
    assert listing.inputs.column("media").to_pylist() == [None]


def test_ids_do_not_depend_on_what_else_is_listed(tmp_path: Path) -> None:
    fill(tmp_path, "a.pdf", "b.pdf")
    alone = list_inputs((str(tmp_path / "b.pdf"),), tmp_path / "out").inputs
    beside = list_inputs((str(tmp_path),), tmp_path / "out").inputs
    assert alone.column("input_id")[0] == beside.column("input_id")[1]


def test_a_link_that_leads_back_up_ends(tmp_path: Path) -> None:
    fill(tmp_path, "in/a.pdf")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere").mkdir()
    fill(tmp_path, "elsewhere/b.pdf")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    assert names(list_inputs((str(tmp_path / "in"),), tmp_path / "out")) == ["a.pdf", "b.pdf"]


def test_a_double_star_finds_each_file_once(tmp_path: Path) -> None:
    fill(tmp_path, "a.pdf", "x/b.pdf", "x/y/c.jpg")
    listing = list_inputs((str(tmp_path / "**"),), tmp_path / "out")
    assert sorted(names(listing)) == ["a.pdf", "b.pdf", "c.jpg"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_of_paths_carries_its_other_columns(tmp_path: Path, form: str) -> None:
    fill(tmp_path, "a.pdf", "b.pdf")
    table = pa.table({"shelf": [3, 4, 5], "path": ["a.pdf", str(tmp_path / "b.pdf"), "a.pdf"]})
    source = tmp_path / f"list.{form}"
    if form == "csv":
        source.write_text("shelf,path\n3,a.pdf\n4," + str(tmp_path / "b.pdf") + "\n5,a.pdf\n")
    else:
        pq.write_table(table, source)
    listing = list_inputs((str(source),), tmp_path / "out")
    assert names(listing) == ["a.pdf", "b.pdf", "a.pdf"]
    assert listing.inputs.schema.names[len(tables.INPUTS) :] == ["shelf"]
    # a CSV does not say whether 3 is a number
    assert listing.inputs.column("shelf").to_pylist() == (["3", "4", "5"] if form == "csv" else [3, 4, 5])
    assert len(set(listing.inputs.column("input_id").to_pylist())) == 3


def test_a_table_beside_a_folder_leaves_nulls(tmp_path: Path) -> None:
    fill(tmp_path, "in/a.pdf", "in/b.pdf")
    (tmp_path / "list.csv").write_text("uri,owner\nin/a.pdf,Ann\n")
    listing = list_inputs((str(tmp_path / "list.csv"), str(tmp_path / "in")), tmp_path / "out")
    assert listing.inputs.column("owner").to_pylist() == ["Ann", None]
    assert names(listing) == ["a.pdf", "b.pdf"]


def test_the_first_of_a_long_listing_has_the_columns_that_its_end_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a prompt gets its values is looked up there."""
    monkeypatch.setattr(listing, "PATIENCE_S", -1.0)
    (tmp_path / "a.png").touch()
    (tmp_path / "b.csv").write_text("path,prompt\na.png,What is it?\n")
    (tmp_path / "c.csv").write_text("path,shelf,other\na.png,7,8\n")
    entries = tuple(str(tmp_path / name) for name in ("a.png", "b.csv", "c.csv"))
    pieces = list(listing.Lister(entries, None, wanted={"prompt", "shelf"}))
    assert len(pieces) == 3
    assert [[piece["prompt"][0].as_py(), piece["shelf"][0].as_py()] for piece in pieces] == [
        [None, None], ["What is it?", None], [None, "7"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "sentence"),
    [("name\nx", "needs a column of paths"), ("uri,status\na.pdf,1", "'status' has the name of a result")],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, header: str, sentence: str) -> None:
    (tmp_path / "list.csv").write_text(header + "\n")
    with pytest.raises(SpecError, match=sentence):
        list_inputs((str(tmp_path / "list.csv"),), tmp_path / "out")
