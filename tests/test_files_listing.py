"""Tables of inputs as spreadsheets, scripts and other systems write them: an odd cell costs one row, and says so."""

from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.checks.intrinsics import find_intrinsics
from pipelines.job import prepare
from pipelines.listing import Listing, list_inputs
from pipelines.local import answer
from schemas import tables
from schemas.errors import SpecError
from schemas.spec import JobSpec
from tests.support.samples import shared
from tests.support.world import write_image, write_recording


def listed(*entries: object, **options: Any) -> Listing:
    return list_inputs(tuple(map(str, entries)), Path("/nowhere"), **options)


def table(folder: Path, content: str | bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def outcomes(listing: Listing) -> list[tuple[str, str | None, str | None]]:
    """(address, media, kind of failure) of each input."""
    return [
        (row["input_uri"], row["media"], row["error"] and row["error"]["kind"]) for row in listing.inputs.to_pylist()
    ]


def columns(listing: Listing) -> dict[str, list[Any]]:
    names = listing.inputs.schema.names[len(tables.INPUTS) :]
    return {name: listing.inputs.column(name).to_pylist() for name in names}


# odd cells

DATA_URL = "data:image/png;base64," + "iVBORw0KGgo" * 3000
ODD = {
    # cell -> (address, media, kind of failure); {} is the folder
    "": ("{}/list.csv#1", None, "not_found"),
    "   ": ("{}/list.csv#1", None, "not_found"),
    "a\0.png": ("{}/a\0.png", "image", "not_found"),
    "x" * 300 + ".png": ("{}/" + "x" * 300 + ".png", "image", "not_found"),
    "d/" * 3000 + "a.pdf": ("{}/" + "d/" * 3000 + "a.pdf", "document", "not_found"),
    "ftp://example.org/a.png?size=3": ("ftp://example.org/a.png?size=3", "image", "not_found"),
    " ftp://example.org/b.png ": ("ftp://example.org/b.png", "image", "not_found"),
    "S3://bucket/key/a.pdf": ("s3://bucket/key/a.pdf", "document", None),  # who reads it asks
    "gs://bucket/a b.mp4": ("gs://bucket/a b.mp4", "video", None),
    "abfss://x@y.dfs.core.windows.net/a.tif": ("abfss://x@y.dfs.core.windows.net/a.tif", "image", "not_found"),
    "file://server/share/a.png": ("file://server/share/a.png", "image", "not_found"),
    "data:image/png;base64,iVBORw0KGgo=": ("data:image/png;base64,iVBORw0KGgo=", None, "not_found"),
    "data:,x": ("data:,x", None, "not_found"),
    "C:\\scans\\a.png": ("{}/C:\\scans\\a.png", "image", "not_found"),
    "NULL": ("{}/NULL", None, "not_found"),
    "nan": ("{}/nan", None, "not_found"),
    "a.png/b.png": ("{}/a.png/b.png", "image", "not_found"),
}


@pytest.mark.parametrize("cell", ODD, ids=lambda cell: cell[:30] or "empty")
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_odd_cell_is_a_row_of_its_own(tmp_path: Path, cell: str, form: str) -> None:
    write_image(tmp_path / "a.png")
    cells = ["a.png", cell, "a.png"]
    path = tmp_path / f"list.{form}"
    if form == "csv":
        table(tmp_path, "path,note\n" + "".join(f'"{cell}",n{number}\n' for number, cell in enumerate(cells)))
    else:
        pq.write_table(pa.table({"path": cells, "note": ["n0", "n1", "n2"]}), path)
    listing = listed(path)
    address, media, kind = ODD[cell]
    address = address.replace("{}", str(tmp_path)).replace(".csv", f".{form}")
    good = (str(tmp_path / "a.png"), "image", None)
    assert outcomes(listing) == [good, (address, media, kind), good]
    assert columns(listing) == {"note": ["n0", "n1", "n2"]}
    assert len(set(listing.inputs["input_id"].to_pylist())) == 3
    if kind and ("://" in cell or cell.startswith("data:")):
        assert "nothing is read from" in listing.inputs["error"][1].as_py()["message"]


def test_an_address_that_is_a_file_itself_is_kept_short(tmp_path: Path) -> None:
    listing = listed(table(tmp_path, f'path\n"{DATA_URL}"\n"{DATA_URL}"\n"{DATA_URL}x"\n'))
    uris = listing.inputs["input_uri"].to_pylist()
    assert all(len(uri) < 200 and uri.startswith("data:image/png;base64,iVBOR") for uri in uris)
    assert len(set(listing.inputs["input_id"].to_pylist())) == 3


def test_a_null_of_parquet_is_an_empty_cell(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": ["a.png", None], "n": [1, None]}), tmp_path / "list.parquet")
    listing = listed(tmp_path / "list.parquet")
    assert outcomes(listing)[1] == (f"{tmp_path}/list.parquet#1", None, "not_found")
    assert columns(listing) == {"n": [1, None]}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("ftp://example.org/a.png", "nothing is read from ftp: addresses"),
        ("s3:/b/a.pdf", "it lacks a slash: s3://"),
        ("data:image/png;base64,iVBO", "nothing is read from data: addresses"),
        ("FILE://x/a", "nothing is read from FILE: addresses"),
    ],
)
def test_an_entry_of_the_spec_that_nothing_is_read_from_is_refused(entry: str, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        listed(entry)


# what leaves no rows to speak of

BROKEN = {
    "path,note\na.png,one\nb.png\n": "line 3: 1 cells, and 2 columns have names",
    "path,note\na.png,one,more\n": "line 2: 3 cells",
    'path,note\na.png,"one\nb.png,two\nc.png,three\n': "line 4: ",
    'path,note\n"a.png"b,one\n': "line 2: ",
    "path,note\na.png,caf\udce9\n": "line 2: column note holds text that is no UTF-8",
    "path,caf\udce9\na.png,1\n": "the name of a column is no UTF-8",
    "path,note\na.png," + "x" * (3 << 20) + "\n": "line 2: field larger than field limit",
    "": "it is empty",
    "\n\n\n": "it is empty",
    "\ufeff": "it is empty",
    "PK\3\4\0\0\0\0[Content_Types].xml": "needs a column of paths",
    "path,note,note\n": "two columns are called 'note'",
    "name;value\n1;2\n": "needs a column of paths named one of uri, path, input_uri; it has 'name', 'value'",
}


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:25]))
def test_a_table_that_is_broken_is_one_sentence_with_its_line(tmp_path: Path, content: str) -> None:
    path = table(tmp_path, content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SpecError) as caught:
        listed(path)
    assert str(caught.value).startswith(f"inputs: {path}: ")
    assert BROKEN[content] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.input_tables._LONGEST_LINE", 1 << 20)
    with pytest.raises(SpecError, match="a line of it has more than 1 MB"):
        listed(table(tmp_path, b"path," + b"x" * (2 << 20)))


# text

AS_WRITTEN = (
    *("0001", "007", "1e5", "NA", "true", "2024-01-02", " x ", "1.10", "-0", "null", "1,5", "∞", "'", "=1+1", ""),
)


def test_cells_of_a_csv_are_the_text_that_is_written(tmp_path: Path) -> None:
    for name in ("0001", "1e5", "true", "NA", "2024-01-02"):
        write_image(tmp_path / "a.png").rename(tmp_path / name)
    content = "path,code\n" + "".join(f'{name},"{code}"\n' for name in ("0001", "1e5") for code in AS_WRITTEN)
    listing = listed(table(tmp_path, content))
    assert columns(listing) == {"code": list(AS_WRITTEN) * 2}
    assert [Path(uri).name for uri, *_ in outcomes(listing)] == ["0001"] * len(AS_WRITTEN) + ["1e5"] * len(AS_WRITTEN)
    listing = listed(table(tmp_path, "path\n0001\n1e5\ntrue\nNA\n2024-01-02\n"))
    assert [kind for *_, kind in outcomes(listing)] == [None] * 5


def test_types_says_otherwise(tmp_path: Path) -> None:
    path = table(
        tmp_path, "path,count,score,seen,day,code\na,1.0, 2.5 ,true,2024-02-29,007\nb,,,,,\nc,-9,1e5,No,2024-01-01,1\n"
    )
    types = {"count": "int", "score": "float", "seen": "bool", "day": "date", "code": "text"}
    listing = listed(path, types=types)
    assert columns(listing) == {
        "count": [1, None, -9],
        "score": [2.5, None, 1e5],
        "seen": [True, None, False],
        "day": [datetime.date(2024, 2, 29), None, datetime.date(2024, 1, 1)],
        "code": ["007", "", "1"],
    }


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("int", "12a"), ("int", "1.5"), ("int", "9" * 30), ("int", "1_000"), ("float", "wide"), ("float", "nan"),
        ("float", "1e999"), ("float", "1_0.5"), ("bool", "2"), ("date", "02/01/2024"), ("date", "2023-02-29"),
    ],
)  # fmt: skip
def test_a_cell_that_is_not_of_its_type_costs_its_row(tmp_path: Path, kind: str, cell: str) -> None:
    write_image(tmp_path / "a.png")
    listing = listed(table(tmp_path, f'path,x\na.png,\na.png,"{cell}"\na.png,\n'), types={"x": kind})
    errors = [row["error"] and row["error"]["message"] for row in listing.inputs.to_pylist()]
    assert errors == [None, f"line 3 of the table: column x: {cell!r} is no {kind}", None]
    assert columns(listing) == {"x": [None] * 3}


def test_types_of_no_column_and_of_two_forms_are_sentences(tmp_path: Path) -> None:
    path = table(tmp_path, "path,count\na,1\n")
    with pytest.raises(SpecError, match="types: no input table has a column 'counts'"):
        listed(path, types={"counts": "int"})
    with pytest.raises(SpecError, match="types: 'path' is the column of paths"):
        listed(path, types={"path": "int"})
    pq.write_table(pa.table({"path": ["b"], "count": [2]}), tmp_path / "list.parquet")
    with pytest.raises(SpecError, match=r"do not fit together: .*a CSV's columns are text where `types` says nothing"):
        listed(path, tmp_path / "list.parquet")
    assert columns(listed(path, tmp_path / "list.parquet", types={"count": "int"})) == {"count": [1, 2]}


@pytest.mark.parametrize(
    "values",
    [
        {"fx": "1000", "fy": " 1000.0", "cx": "5e2", "cy": "300"},
        {"fx": "", "fy": "", "cx": "", "cy": "", "fov_deg": "90"},
        {"intrinsics": "", "fx": 1000, "fy": 1000, "cx": 500, "cy": 300},
        {"intrinsics": "[1000, 1000, 500, 300]"},
    ],
)
def test_numbers_that_are_text_are_taken_where_numbers_are_needed(values: dict[str, Any]) -> None:
    camera = find_intrinsics(values, None, 1000, 600)
    assert camera is not None
    assert camera.cx_px == 500


# forms of tables

ROWS = [["a.png", "one, two", "7"], ["b c.png", 'say "x"\nor not', ""], ["ä.png", "naïve", "9"]]


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _lines(delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(map(_quoted, row)) + end for row in [["path", "note", "n"], *ROWS])


FORMS: dict[str, tuple[str, bytes]] = {
    "plain": ("list.csv", _lines().encode()),
    "upper case": ("LIST.CSV", _lines().encode()),
    "crlf": ("list.csv", _lines(end="\r\n").encode()),
    "old mac": ("list.csv", _lines(end="\r").encode()),
    "no last line end": ("list.csv", _lines().encode()[:-1]),
    "byte order mark": ("list.csv", _lines().encode("utf-8-sig")),
    "excel unicode text": ("list.csv", _lines("\t", "\r\n").encode("utf-16")),
    "utf-16 big endian": ("list.csv", b"\xfe\xff" + _lines("\t").encode("utf-16-be")),
    "excel in europe": ("list.csv", _lines(";", "\r\n").encode("utf-8-sig")),
    "excel's sep": ("list.csv", b"sep=;\r\n" + _lines(";", "\r\n").encode()),
    "excel's other sep": ("list.csv", b"sep=|\r\n" + _lines("|", "\r\n").encode()),
    "tabs": ("list.tsv", _lines("\t").encode()),
    "tabs in a csv": ("list.csv", _lines("\t").encode()),
    "empty lines": ("list.csv", _lines(end="\n\n").encode()),
    "an empty line first": ("list.csv", b"\n" + _lines().encode()),
    "blanks around names": ("list.csv", _lines().replace('"path","note","n"', "path , note, n").encode()),
    "excel's trailing rows": ("list.csv", (_lines() + ",,\n" * 50).encode()),
    "excel's trailing columns": ("list.csv", _lines(end=",,\n").encode()),
    "pandas with its index": (
        "list.csv",
        b"," + "".join(f"{number},{line}\n" for number, line in enumerate(_lines(end="\0").split("\0")))[2:-3].encode(),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_in_whatever_form_programs_write_it(tmp_path: Path, form: str) -> None:
    name, content = FORMS[form]
    (tmp_path / name).write_bytes(content)
    for row in ROWS:
        write_image(tmp_path / "x.png").rename(tmp_path / row[0])
    listing = listed(tmp_path / name)
    assert outcomes(listing) == [(str(tmp_path / path), "image", None) for path, *_ in ROWS]
    assert columns(listing) == {"note": [row[1] for row in ROWS], "n": [row[2] for row in ROWS]}
    assert listing.skipped == ({"empty row at the end of a table": 50} if "trailing rows" in form else {})


def test_quoted_line_breaks_whatever_the_size(tmp_path: Path) -> None:
    """More than a megabyte, more than a batch of rows, and a cell of more than a hundred kilobytes."""
    write_image(tmp_path / "a.png")
    notes = [f"remark {number} goes\nover two lines here, {'and on ' * (number % 7)}" for number in range(30_000)]
    notes[20_000] = "x\n" * 100_000
    path = table(tmp_path, "path,note\n" + "".join(f'a.png,"{note}"\n' for note in notes))
    listing = listed(path)
    assert columns(listing) == {"note": notes}
    assert {kind for *_, kind in outcomes(listing)} == {None}


def test_a_parquet_table_called_csv_is_one(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.png"], "n": [7]}), tmp_path / "list.csv")
    assert columns(listed(tmp_path / "list.csv")) == {"n": [7]}


@pytest.mark.parametrize(
    "paths",
    [
        pa.array(["a.png", "b.png"], pa.large_string()),
        pa.array([b"a.png", b"b.png"], pa.binary()),
        pa.array([b"a.png", b"b.png"], pa.large_binary()),
        pa.array(["a.png", "b.png"]).dictionary_encode(),
        pa.array(["a.png", "b.png"], pa.string_view()),
    ],
    ids=lambda paths: str(paths.type)[:20],
)
def test_paths_of_parquet_in_whatever_type(tmp_path: Path, paths: pa.Array) -> None:
    pq.write_table(pa.table({"path": paths, "n": pa.array([1, 2], pa.int8())}), tmp_path / "list.parquet")
    listing = listed(tmp_path / "list.parquet")
    assert [Path(uri).name for uri, *_ in outcomes(listing)] == ["a.png", "b.png"]
    assert listing.inputs.schema.field("n").type == pa.int8()


def test_a_name_in_latin_1_is_opened_by_its_bytes(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    listing = listed(table(tmp_path, b"path,note\ncaf\xe9.png,one\nno\xe9.png,two\n"))
    assert outcomes(listing) == [
        (f"file://{tmp_path}/caf%E9.png", "image", None),
        (f"file://{tmp_path}/no%E9.png", "image", "not_found"),
    ]


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("sub\\a.png", "sub/a.png"),
        (".\\sub\\a.png", "sub/a.png"),
        (" a.png", "a.png"),
        ("a.png\u00a0", "a.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("caf\udce9.png", "caf\u00e9.png"),
        ("caf\udce9.png", "cafe\u0301.png"),
        ("sub\\\u201equote.png", "sub/\u201equote.png"),
    ],
)
def test_a_name_as_another_system_writes_it(tmp_path: Path, cell: str, name: str) -> None:
    (tmp_path / "sub").mkdir()
    write_image(tmp_path / "x.png").rename(tmp_path / name)
    path = table(tmp_path, f'path\n"{cell}"\n"no {cell}"\n'.encode("utf-8", "surrogateescape"))
    first, second = outcomes(listed(path))
    assert first == (str(tmp_path / name), "image", None)
    assert second[2] == "not_found"
    if "\udce9" not in cell:  # as it is written comes first
        write_image(tmp_path / "x.png").rename(tmp_path / cell)
        assert outcomes(listed(path))[0][0] == str(tmp_path / cell)


def test_a_cell_of_a_text_that_is_not_of_its_type_costs_its_row(tmp_path: Path) -> None:
    listing = listed(table(tmp_path, "question,n\nwhy,1\nwho,x\n"), texts=True, types={"n": "int"})
    assert [(media, kind) for _, media, kind in outcomes(listing)] == [("text", None), ("text", "malformed")]


def test_texts_keep_empty_cells_and_lines(tmp_path: Path) -> None:
    listing = listed(table(tmp_path, "question;id\nwhy;01\n;02\nwho, and when;03\n"), texts=True)
    assert columns(listing) == {"question": ["why", "", "who, and when"], "id": ["01", "02", "03"]}
    assert {media for _, media, _ in outcomes(listing)} == {"text"}


def test_a_job_over_an_odd_table_answers_the_others(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png").rename(tmp_path / "0001")
    content = 'path,code\n0001,007\n,x\nftp://a.b/c.png,y\n"a\0b",z\n' + "x" * 300 + ",w\n0001,1e5\n"
    recording = write_recording(tmp_path / "replies.jsonl", {"task": "ask", "reply": '{"a": "A sign."}'})
    output = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    spec = JobSpec.model_validate(
        {
            "name": "test",
            "inputs": [str(table(tmp_path, content))],
            "tasks": [{"name": "ask", "prompt": "Is it {code}?", "output": output}],
            "engine": {"kind": "scripted", "recording": str(recording)},
            "output": str(tmp_path / "out"),
        }
    )
    rows = list(answer(prepare(spec)))
    assert [(row["code"], row["status"]) for row in rows if row["status"] == "ok"] == [("007", "ok"), ("1e5", "ok")]
    assert sorted(row["code"] for row in rows if row["status"] == "unreadable_input") == ["w", "x", "y", "z"]
    assert [row["parameters"] for row in rows if row["status"] == "ok"] == ['{"code": "007"}', '{"code": "1e5"}']


FAULTS = shared("faults/documents/tables")


@pytest.mark.skipif(not FAULTS.is_dir(), reason="no shared faults")
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("empty_cell.csv", [None, "not_found"]),
        ("long.csv", ["not_found"]),
        ("nul.csv", ["not_found"]),
        ("latin1.csv", ["not_found"]),
        ("numbers.csv", [None, None]),
    ],
)
def test_the_shared_faults(tmp_path: Path, name: str, kinds: list[str | None]) -> None:
    shutil.copy(FAULTS / name, tmp_path)
    (tmp_path / "names").mkdir()
    for path in ("0001", "0002", "names/a b.pdf"):
        write_image(tmp_path / "x.png").rename(tmp_path / path)
    listing = listed(tmp_path / name)
    assert [kind for *_, kind in outcomes(listing)] == kinds
    if name == "numbers.csv":
        assert columns(listing) == {"code": ["007", "008"]}
