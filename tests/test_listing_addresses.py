"""Entries and cells that are addresses: what is listed in a bucket is what the same tree in a folder gives."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.console import Console

from jobs.display import Display
from operators.media.formats import HEAD_BYTES
from operators.store.inputs.object_origin import ObjectOrigin
from operators.store.inputs.opened_input import opened_input
from operators.store.memory import MemoryStore
from pipelines.entries.globs import has_magic
from pipelines.job import prepare
from pipelines.listing import Listing, check_values, list_inputs
from pipelines.progress import Progress
from schemas.address import canonical
from schemas.errors import SpecError
from schemas.spec import JobSpec
from tests.support.object_server import SECRET, S3Server
from tests.support.world import write_recording

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


def test_a_name_that_says_nothing_is_looked_into(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large object no more than its first bytes are read."""
    bucket = s3.new_bucket()
    contents = {"scan": PNG, "0001": PNG, "large": PNG + bytes(3 << 20), "readme": b"text", "empty": b"", "a.pdf": PNG}
    for key, content in contents.items():
        s3.put(f"{bucket}/{key}", content)
    received: Counter[str] = Counter()
    pieces = ObjectOrigin.pieces

    def counted(self: ObjectOrigin, address: str, *where: Any) -> Iterator[bytes]:
        for piece in pieces(self, address, *where):
            received[address.removeprefix(f"{bucket}/")] += len(piece)
            yield piece

    monkeypatch.setattr(ObjectOrigin, "pieces", counted)
    listing = listed(bucket)
    assert outcomes(listing, f"{bucket}/") == [
        ("0001", "image", None),
        ("a.pdf", "document", None),
        ("large", "image", None),
        ("scan", "image", None),
    ]
    assert listing.skipped == {"unknown type readme": 1, "unknown type empty": 1}
    assert received == {"0001": len(PNG), "scan": len(PNG), "readme": 4, "large": HEAD_BYTES}


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
    monkeypatch.setattr("operators.store.objects.FIRST_PATIENCE_S", 0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(SpecError, match=r"does not answer .*; check the endpoint"):
        listed("s3://silent-bucket/a.png")


def test_a_key_that_no_client_can_ask_for_costs_what_is_listed_with_it(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    for key in ("in/a//b.png", "in/c.png", "other/d.png"):
        s3.put(f"{bucket}/{key}", PNG)
    assert outcomes(listed(f"{bucket}/in/a//b.png", f"{bucket}/in/c.png", f"{bucket}/other"), f"{bucket}/") == [
        ("in/a//b.png", "image", "not_found"),
        ("in/c.png", "image", None),
        ("other/d.png", "image", None),
    ]
    for entry in (bucket, f"{bucket}/in/", f"{bucket}/in/*.png"):
        with pytest.raises(SpecError, match=rf"^inputs: {bucket}.*in/a//b\.png.*name a folder without such keys"):
            listed(entry)


# globs


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


# a store that answers as it is told


@contextlib.contextmanager
def stub(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str, dict[str, str]], tuple[int, str]]) -> Iterator[None]:
    """The endpoint of S3. answer: (path, query) -> status and body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            status, body = answer(address.path, dict(parse_qsl(address.query)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("ETag", '"1"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        for name, value in S3Server(f"http://127.0.0.1:{port}").environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("operators.store.retries.LONGEST_S", 0.1)
        try:
            yield
        finally:
            server.shutdown()


def test_who_may_not_is_told_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = "<Error><Code>InvalidAccessKeyId</Code><Message>There is no such key</Message></Error>"
    with stub(monkeypatch, lambda path, query: (403, refusal)):
        for name in ("a.png", "in/", "*.png"):
            with pytest.raises(SpecError, match=r"InvalidAccessKeyId.*credentials in the environment: AWS_") as end:
                listed(f"s3://refused-bucket/{name}")
            assert str(end.value).startswith("inputs: s3://refused-bucket")
            assert SECRET not in str(end.value)


def test_who_may_read_but_not_list_names_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(path: str, query: dict[str, str]) -> tuple[int, str]:
        denied = "list-type" in query or path.endswith("no.png")
        return (403, "<Error><Code>AccessDenied</Code></Error>") if denied else (200, "x")

    with stub(monkeypatch, answer):
        listing = listed("s3://read-bucket/a.png", "s3://read-bucket/no.png")
        assert outcomes(listing, "s3://read-bucket/") == [("a.png", "image", None), ("no.png", "image", "permission")]
        with pytest.raises(SpecError, match="AccessDenied"):
            listed("s3://read-bucket/a.png", "s3://read-bucket/in/")


def test_many_keys_are_listed_a_page_at_a_time(
    monkeypatch: pytest.MonkeyPatch, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """A page fails now and then: the listing goes on behind what it has."""
    total, asked = amount(5_000, 100_000), Counter[str]()
    keys = [f"in/{number // 1000:04d}/page-{number:07d}.png" for number in range(total)]

    def answer(path: str, query: dict[str, str]) -> tuple[int, str]:
        after = query.get("continuation-token") or query.get("start-after", "")
        asked[after] += 1
        if asked[after] == 1 and len(asked) % 3 == 0:
            return 503, "<Error><Code>SlowDown</Code></Error>"
        begun = bisect_right(keys, after)
        some = keys[begun : begun + 1000]
        entries = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{key[-11:-4]}&quot;</ETag><Size>7</Size></Contents>"
            for key in some
        )
        more = begun + 1000 < total
        token = f"<NextContinuationToken>{some[-1]}</NextContinuationToken>" if more else ""
        return (
            200,
            f"<ListBucketResult>{entries}<IsTruncated>{str(more).lower()}</IsTruncated>{token}</ListBucketResult>",
        )

    class Told(Progress):
        files: ClassVar[list[int]] = []

        def listing(self, files: int) -> None:
            self.files.append(files)

    with stub(monkeypatch, answer):
        started, before_mb = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        listing = listed("s3://many-bucket/in/", progress=Told())
    used_s = time.process_time() - started
    more_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb
    figure(f"{total} keys are listed in {used_s:.1f} s of CPU, the server's too; {more_mb:.0f} MB more at most")
    assert listing.inputs["input_uri"].to_pylist() == [f"s3://many-bucket/{key}" for key in keys]
    assert set(listing.inputs["size_bytes"].to_pylist()) == {7}
    assert listing.inputs["version"].to_pylist()[0] == '"0000000"'
    assert Told.files == list(range(1000, total + 1, 1000))
    assert max(asked.values()) == 2


def test_a_long_listing_shows_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    shown = Display(Console(file=printed, width=100))
    shown.listing(1000)
    assert printed.getvalue() == ""  # a short one says how much it was at its end
    monkeypatch.setattr("jobs.display._LISTED_EVERY_S", 0.0)
    shown.listing(2000)
    assert printed.getvalue().strip() == "listed 2000 files so far"


# identity


def test_the_same_address_is_one_input_however_it_is_written() -> None:
    root = filled("written", "a.png")
    once, twice = listed(f"{root}/a.png"), listed(f"{root}/a.png", f"MEMORY{root[6:]}/a.png", f"{root}/", f"{root}/*")
    assert twice.inputs.equals(once.inputs)
    assert twice.skipped == {"named twice": 3}
    again = {address: canonical(address) for address in ("S3://B/K?x", "HTTPS://Host.Org/A?B#c", "https://h", "gs://b")}
    assert list(again.values()) == ["s3://B/K?x", "https://host.org/A?B#c", "https://h", "gs://b"]
    assert all(canonical(address) == address for address in again.values())


@pytest.mark.parametrize("entry", ["S3://bucket/in/", "s3://bucket/in/"])
def test_an_address_is_part_of_the_identity_wherever_a_job_is_started(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = write_recording(tmp_path / "replies.jsonl", {"task": "ask", "reply": "{}"})
    output = {"type": "object", "properties": {"a": {"type": "string"}}}
    monkeypatch.chdir(tmp_path)
    spec = JobSpec.model_validate(
        {
            "name": "test",
            "inputs": [entry, "in"],
            "tasks": [{"name": "ask", "prompt": "What?", "output": output}],
            "engine": {"kind": "scripted", "recording": str(recording)},
            "output": str(tmp_path / "out"),
        }
    )
    assert prepare(spec).identity["inputs"] == ["s3://bucket/in/", str(tmp_path / "in")]


def test_a_key_that_looks_like_a_member_is_read(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    s3.put(f"{bucket}/in/a.tar#b.png", PNG)
    (row,) = listed(f"{bucket}/in/").inputs.to_pylist()
    with opened_input(row["input_uri"], row["version"]) as opened:
        assert os.pread(opened.fd, len(PNG) + 1, 0) == PNG


def test_a_prompt_that_lacks_its_value_says_which_shard_is_not_there(tmp_path: Path) -> None:
    task = SimpleNamespace(name="look", parameters={}, defaults={}, required_parameters=lambda: ["txt"])
    with pytest.raises(
        SpecError, match=r"takes \{txt\}: .*\.txt members in a shard.*a\.tar cannot be read: No such file"
    ):
        check_values([task], listed(str(tmp_path / "a.tar")).inputs)  # type: ignore[list-item]
