"""Tables in buckets, and tables whose cells are addresses: who reads a file asks for it, not the listing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.store.addresses import store_at
from operators.store.inputs import object_origin
from pipelines.job import prepare
from pipelines.listing import list_inputs
from pipelines.local import answer
from schemas import tables
from schemas.address import address_in, place_of
from schemas.errors import SpecError
from schemas.spec import JobSpec
from tests.support.object_server import S3Server
from tests.support.world import write_image, write_pdf, write_recording
from tests.test_listing_addresses import PNG, listed, outcomes


def test_a_table_in_a_bucket_names_files_beside_it(s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    cells = ["a.png", "../b.png", "../../../etc/c.png", "/d.png", "sub/", f"{bucket}/e.png", "gs://other/f.pdf", " "]
    s3.put(
        f"{bucket}/lists/in/list.csv", ("path,n\n" + "".join(f"{cell},{n}\n" for n, cell in enumerate(cells))).encode()
    )
    listing = listed(f"{bucket}/lists/in/list.csv")
    assert outcomes(listing, f"{bucket}/") == [
        ("lists/in/a.png", "image", None),
        ("lists/b.png", "image", None),
        ("etc/c.png", "image", None),  # there is no way up out of a bucket
        ("d.png", "image", None),
        ("lists/in/sub/", "episode", None),
        ("e.png", "image", None),
        ("gs://other/f.pdf", "document", None),
        ("lists/in/list.csv#7", None, "not_found"),
    ]
    assert listing.inputs["n"].to_pylist() == [str(n) for n in range(8)]
    pq.write_table(pa.table({"uri": ["a.png"], "n": [3]}), tmp_path / "x.parquet")
    s3.put(f"{bucket}/x.parquet", (tmp_path / "x.parquet").read_bytes())
    listing = listed(f"{bucket}/x.parquet")
    assert outcomes(listing, f"{bucket}/") == [("a.png", "image", None)]
    assert listing.inputs["n"].to_pylist() == [3]


@settings(max_examples=300)
@given(
    folder=st.sampled_from(["s3://b/", "s3://b/in/lists/", "https://h.org/in/", "hf://datasets/o/n/"]),
    name=st.lists(st.sampled_from(["..", ".", "a", "b.png", "", "c d", "e:f", "?x=../../y"]), min_size=1).map("/".join),
)
def test_no_name_in_a_table_leads_out_of_its_bucket(folder: str, name: str) -> None:
    address = address_in(folder, name)
    assert place_of(address)[:2] == place_of(folder)[:2]
    path, mark, query = place_of(address)[2].partition("?") if folder.startswith("https") else (address[5:], "", "")
    assert ".." not in path.removeprefix("/").split("/")
    assert mark + query == (name[name.index("?") :] if mark else "")


def test_only_cells_that_tell_nothing_are_asked_for(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    s3.put(f"{bucket}/scan", PNG)
    s3.put(f"{bucket}/episode/1.png", PNG)
    asked: list[str] = []
    stat = object_origin.ObjectOrigin.stat

    def counted(self: object_origin.ObjectOrigin, address: str) -> object:
        asked.append(address)
        return stat(self, address)

    monkeypatch.setattr(object_origin.ObjectOrigin, "stat", counted)
    names = ["a.png", "scan", "episode", "none", "b.pdf", "c.mp4", "scan"]
    (tmp_path / "list.csv").write_text("path\n" + "".join(f"{bucket}/{name}\n" for name in names))
    listing = listed(str(tmp_path / "list.csv"))
    assert outcomes(listing, f"{bucket}/") == [
        ("a.png", "image", None),
        ("scan", None, None),
        ("episode", "episode", None),
        ("none", None, "not_found"),
        ("b.pdf", "document", None),
        ("c.mp4", "video", None),
        ("scan", None, None),
    ]
    assert sorted(asked) == [f"{bucket}/{name}" for name in ("episode", "none", "scan", "scan")]
    assert len(set(listing.inputs["input_id"].to_pylist())) == len(names)


def test_a_bucket_that_cells_name_and_is_not_there_costs_their_rows(s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\ns3://no-such-bucket/a.png\ns3://no-such-bucket/episode\n")
    kinds = [kind for _, _, kind in outcomes(listed(str(tmp_path / "list.csv")), "")]
    assert kinds == [None, "not_found"]  # who reads the first learns it


SECRETS = {
    "s3://me:planted@bucket/a.png": ("s3://bucket/a.png", "permission"),
    "https://me:plan/ted@host/a.png": ("https://host/a.png", "permission"),
    "https:/me:planted@host/a.png": ("https:/host/a.png", "not_found"),
    "ftp://me:planted@host/a.png": ("ftp://host/a.png", "not_found"),
    "https://me:planted@[host/a.png": ("https://[host/a.png", "permission"),
}


def test_a_secret_in_a_cell_is_in_no_row(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\n" + "".join(f"{cell}\n" for cell in SECRETS))
    listing = listed(str(tmp_path / "list.csv"))
    assert outcomes(listing, "") == [(address, "image", kind) for address, kind in SECRETS.values()]
    assert "plan" not in str(listing.inputs.to_pylist())


@pytest.mark.parametrize("entry", SECRETS)
def test_a_secret_in_an_entry_is_in_no_sentence(entry: str) -> None:
    with pytest.raises(SpecError) as refusal:
        listed(entry)
    assert "plan" not in str(refusal.value)
    with pytest.raises(SpecError) as refusal:
        store_at(entry.replace("s3://", "s3:/").replace("https:", "http:"))
    assert "plan" not in str(refusal.value)


def test_a_host_that_is_none_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\nhttps://[host/a.png\nhttps://[host/a\n")
    assert outcomes(listed(str(tmp_path / "list.csv")), "https://[host/") == [
        ("a.png", "image", None),
        ("a", None, None),
    ]


def test_a_table_of_elsewhere_names_no_files_of_this_machine(s3: S3Server, tmp_path: Path) -> None:
    """Not even their sizes."""
    (tmp_path / "a.png").write_bytes(PNG)
    names = [f"file://{tmp_path}/a.png", f"file://localhost{tmp_path}/a.png", f"file:{tmp_path}/a.png"]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    structs = pa.array([{"bytes": None, "path": name} for name in names], kind)
    pq.write_table(pa.table({"image": structs}), tmp_path / "x.parquet")
    bucket = s3.new_bucket()
    s3.put(f"{bucket}/list.csv", ("path\n" + "".join(f"{name}\n" for name in names)).encode())
    s3.put(f"{bucket}/x.parquet", (tmp_path / "x.parquet").read_bytes())
    for table in (f"{bucket}/list.csv", f"{bucket}/x.parquet"):
        rows = listed(table).inputs.to_pylist()
        assert [(row["error"] or {}).get("kind") for row in rows] == ["permission"] * 3
        assert [row["size_bytes"] for row in rows] == [None] * 3


def test_a_table_that_is_not_there_is_a_row_and_one_that_is_none_a_sentence(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    assert outcomes(listed(f"{bucket}/list.csv"), bucket) == [("/list.csv", None, "not_found")]
    s3.put(f"{bucket}/bad.parquet", b"nothing of the kind")
    with pytest.raises(SpecError, match=rf"^inputs: {bucket}/bad\.parquet: not a readable table"):
        listed(f"{bucket}/bad.parquet")


def test_tables_that_a_glob_or_braces_name_are_read(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    for name in ("a", "b"):
        s3.put(f"{bucket}/{name}.csv", f"path,owner\n{name}.png,{name}\n".encode())
    s3.put(f"{bucket}/c.png", PNG)
    for entry in (f"{bucket}/*.csv", f"{bucket}/{{a,b}}.csv"):
        listing = list_inputs((entry, f"{bucket}/c.png"), None)
        assert outcomes(listing, f"{bucket}/") == [
            ("a.png", "image", None),
            ("b.png", "image", None),
            ("c.png", "image", None),
        ]
        assert listing.inputs.schema.names == [*tables.INPUTS.names, "owner"]
        assert listing.inputs["owner"].to_pylist() == ["a", "b", None]


def test_a_job_gives_the_same_rows_here_and_in_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    """But for addresses, and what is derived from them."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    write_image(tmp_path / "in" / "a.png")
    write_pdf(tmp_path / "in" / "sub" / "b.pdf", pages=2)
    write_image(tmp_path / "in" / "0001.png").rename(tmp_path / "in" / "0001")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"garbage")
    (tmp_path / "in" / "list.csv").write_text("path,code\na.png,x\nsub/b.pdf,y\nnone.png,z\n0001,w\n")
    recording = write_recording(tmp_path / "replies.jsonl", {"task": "ask", "reply": '{"a": "A sign."}'})
    output = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    bucket = s3.new_bucket()
    for path in (tmp_path / "in").rglob("*"):
        if path.is_file():
            s3.put(f"{bucket}/in/{path.relative_to(tmp_path / 'in')}", path.read_bytes())

    def rows(root: str) -> list[dict[str, object]]:
        spec = {
            "name": "test",
            "inputs": [f"{root}/in/list.csv", f"{root}/in/", f"{root}/in/**/*.pdf", f"{root}/in/no*.png"],
            "tasks": [{"name": "ask", "prompt": "What?", "output": output}],
            "engine": {"kind": "scripted", "recording": str(recording)},
            "output": str(tmp_path / "out"),
        }
        derived = {"input_id", "chunk_id", "input_uri", "error", "spec_sha256", "decode_s", "infer_s", "created"}
        return [
            {name: value for name, value in row.items() if name not in derived and not name.endswith("_s")}
            | {"name": str(row["input_uri"]).removeprefix(root), "kind": row["error"] and row["error"]["kind"]}
            for row in answer(prepare(JobSpec.model_validate(spec)))
        ]

    here, there = rows(str(tmp_path)), rows(bucket)
    assert len(here) == 7
    assert there == here
