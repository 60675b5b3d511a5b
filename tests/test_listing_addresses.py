"""Entries and cells that are addresses: what is listed in a bucket is what the same tree in a folder gives."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from operators.store.memory import MemoryStore
from pipelines.entries.globs import has_magic
from pipelines.listing import Listing, list_inputs
from schemas.errors import SpecError
from tests.support.object_server import S3Server

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


def filled(name: str, *keys: str, content: bytes = b"x") -> str:
    """memory://… with these keys."""
    store = MemoryStore(f"memory://{name}")
    for key in store.list():
        store.delete(key)
    for key in keys:
        store.put_if_absent(key, content)
    return store.address


def listed(*entries: str, output: str | None = None, **options: Any) -> Listing:
    return list_inputs(entries, output, **options)


def outcomes(listing: Listing, root: str) -> list[tuple[str, str | None, str | None]]:
    """(address below the root, media, kind of failure)."""
    return [
        (row["input_uri"].removeprefix(root), row["media"], row["error"] and row["error"]["kind"])
        for row in listing.inputs.to_pylist()
    ]


TREE = (
    *(
        "b.pdf",
        "_a.PDF",
        "c/d.jpg",
        ".hidden.pdf",
        ".git/x.pdf",
        ".git/deep/y.pdf",
        "c/_SUCCESS",
        "c/e.txt",
        "c.d/f.png",
    ),
    *("out/p.png", "out/deep/.q.png", "c/.git/z.pdf", "c/a.ts", "c/sub/g.mp4", "c-/h.png"),
)


def test_a_prefix_is_walked_like_a_folder(tmp_path: Path) -> None:
    root = filled("walked", *TREE)
    for name in TREE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    here = listed(str(tmp_path), output=str(tmp_path / "out"))
    there = listed(f"{root}/", output=f"{root}/out")
    assert outcomes(there, f"{root}/") == outcomes(here, f"{tmp_path}/")
    assert there.skipped == here.skipped
    assert there.skipped["the job's own output"] == 1
    assert there.inputs.num_rows


def test_a_name_that_says_nothing_is_looked_into(tmp_path: Path) -> None:
    root = filled("looked_into", "scan", "0001", content=PNG)
    filled_more = MemoryStore(root)
    filled_more.put_if_absent("large", PNG + bytes(3 << 20))
    filled_more.put_if_absent("readme", b"text")
    filled_more.put_if_absent("empty", b"")
    listing = listed(root)
    assert outcomes(listing, f"{root}/") == [("0001", "image", None), ("large", "image", None), ("scan", "image", None)]
    assert listing.skipped == {"unknown type readme": 1, "unknown type empty": 1}


def test_what_is_in_a_bucket_comes_with_its_version_and_size(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    for key in ("in/a.png", "in/sub/b.png", "in/*.png", "other"):
        s3.put(f"{bucket}/{key}", PNG)
    s3.put(f"{bucket}/in/sub/", b"")
    s3.put(f"{bucket}/in/marked/", b"")
    rows = listed(f"{bucket}/in", f"{bucket}/in/*.png", f"{bucket}/in/none.png", f"{bucket}/other").inputs.to_pylist()
    assert [row["input_uri"].removeprefix(f"{bucket}/") for row in rows] == [
        "in/*.png",  # a key that looks like a glob and is there
        *("in/a.png", "in/sub/b.png", "in/none.png", "other"),
    ]
    assert [row["error"] and row["error"]["kind"] for row in rows] == [None, None, None, "not_found", None]
    assert all(row["version"] and row["size_bytes"] == len(PNG) for row in rows if not row["error"])


def test_what_cannot_be_listed_at_all_is_one_sentence(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in ("s3://no-such-bucket/a.png", "s3://no-such-bucket/in/", "s3://no-such-bucket/*.png"):
        with pytest.raises(SpecError, match=r"^inputs: s3://no-such-bucket is not there: check its name"):
            listed(entry)
    with pytest.raises(SpecError, match="name and password") as refusal:
        listed("https://me:secret@host/a.png")
    assert "secret" not in str(refusal.value)
    monkeypatch.setattr("operators.store.objects.CHECK_S", 0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(SpecError, match=r"does not answer .*; check the endpoint"):
        listed("s3://silent-bucket/a.png")


# globs and braces


NAMES = st.sampled_from(["a", "b.png", "ab.pdf", ".h", ".h.png", "a[b.png", "*.png", "é.png", "b", "out"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PATTERNS = st.lists(
    st.sampled_from(["*", "**", "a", "b*", "?", "[ab]*", "[!a]*", ".*", "*.png", "a[[]b*", "b.png", "**b", "*[", ""]),
    min_size=1,
    max_size=4,
).map("/".join)


def grown(root: Path, paths: list[str]) -> list[str]:
    """Files at these paths, but for those below what is a file already: their paths."""
    names = []
    for name in paths:
        path = root / name
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(PNG)
                names.append(name)
    return names


@settings(max_examples=150, deadline=None)
@given(paths=st.lists(PATHS, min_size=1, max_size=12), pattern=PATTERNS)
def test_a_glob_matches_in_a_bucket_what_it_matches_in_a_folder(paths: list[str], pattern: str) -> None:
    assume(has_magic(pattern) and not pattern.startswith("/") and "//" not in pattern)
    with tempfile.TemporaryDirectory() as folder:
        root = filled("globbed", *grown(Path(folder), paths), content=PNG)
        here, there = (listed(f"{place}/{pattern}", output=f"{place}/out") for place in (folder, root))
        assert outcomes(there, f"{root}/") == outcomes(here, f"{folder}/")
        assert there.skipped == here.skipped


@settings(max_examples=100, deadline=None)
@given(paths=st.lists(PATHS, max_size=15), depth=st.integers(0, 2))
def test_a_prefix_gives_what_the_folder_gives(paths: list[str], depth: int) -> None:
    below = "/".join(["a"] * depth)
    with tempfile.TemporaryDirectory() as folder:
        names = grown(Path(folder), [*paths, f"{below}/x.png" if below else "x.png"])
        root = filled("listed", *names, content=PNG)
        here, there = (listed(f"{place}/{below}", output=f"{place}/out") for place in (folder, root))
        assert outcomes(there, f"{root}/") == outcomes(here, f"{folder}/")
        assert there.skipped == here.skipped
