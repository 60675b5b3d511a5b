"""The camera of a picture that lies elsewhere: in a bucket, in a tar shard, in a table of bytes, on the web."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from operators.checks.intrinsics import find_intrinsics
from operators.store.inputs import beside
from operators.store.inputs.memory_origin import MemoryOrigin
from operators.store.memory import MemoryStore
from schemas.camera import Intrinsics
from schemas.errors import InputError, SpecError
from tests.support.object_server import S3Server

CAMERA = Intrinsics(800, 700, 500, 300, "sidecar")
TEXT = '{"fx": 800, "fy": 700, "cx": 500, "cy": 300}'


@pytest.fixture(autouse=True)
def _forgotten(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTREAD_CACHE", str(tmp_path_factory.mktemp("cache")))
    beside._folder.cache_clear()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """That were made of memory://, by their verb."""
    counts = Counter[str]()

    def counted(verb: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*about: Any) -> Any:
            counts[verb] += 1
            return method(*about)

        return call

    for verb in ("stat", "list", "pieces"):
        monkeypatch.setattr(MemoryOrigin, verb, counted(verb, getattr(MemoryOrigin, verb)))
    return counts


def filled(name: str, **files: str) -> str:
    store = MemoryStore(f"memory://{name}")
    for key in store.list():
        store.delete(key)
    for key, text in files.items():
        store.put_if_absent(key, text.encode())
    return store.address


def camera(address: str, **values: Any) -> Intrinsics | None:
    return find_intrinsics(values, address, 1000, 600)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", TEXT),
        ("a.jpg.json", f'{{"intrinsics": {TEXT}}}'),
        ("cam_infos.json", '{"a.jpg": {"K": [[800, 0, 500], [0, 700, 300], [0, 0, 1]]}, "b.jpg": 3}'),
    ],
)
def test_a_file_beside_a_picture_in_a_bucket(s3: S3Server, name: str, text: str) -> None:
    bucket = s3.new_bucket()
    s3.put(f"{bucket}/views/{name}", text.encode())
    s3.put(f"{bucket}/views/deeper/c.json", TEXT.encode())
    assert camera(f"{bucket}/views/a.jpg") == CAMERA
    assert camera(f"{bucket}/views/c.jpg") is None
    assert camera(f"{bucket}/a.jpg") is None


def test_a_row_comes_before_a_file_and_a_file_before_a_field_of_view() -> None:
    address = filled("order", **{"a.json": TEXT})
    assert camera(f"{address}/a.jpg", fx=1, fy=1, cx=1, cy=1) == Intrinsics(1, 1, 1, 1, "given")
    assert camera(f"{address}/a.jpg", fov_deg=60) == CAMERA


def test_pictures_without_cameras_cost_few_requests(
    requests: Counter[str], amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    pictures = amount(2000, 1_000_000)
    address = filled("many", **{"view9.json": TEXT, f"view{pictures - 1}.jpg.json": TEXT, "below/view7.json": TEXT})
    seen = [number for number in range(pictures) if camera(f"{address}/view{number}.jpg") is not None]
    assert seen == [9, pictures - 1]
    assert requests["stat"] <= beside.ASKED + 6  # the listing of memory asks for each
    assert requests["list"] == 1
    assert requests["pieces"] == 2
    figure(f"cameras looked for beside {pictures} pictures: {sum(requests.values())} requests")


def test_a_folder_with_too_many_files_is_asked_name_by_name(
    requests: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "MOST_LISTED", 1)
    address = filled("large", **{f"view{number}.json": TEXT for number in range(90, 95)})
    assert sum(camera(f"{address}/view{number}.jpg") is not None for number in range(100)) == 5
    assert requests["list"] == 1


class Refusing(MemoryOrigin):
    """Of a bucket whose keys may not be listed: what is not there is refused, too."""

    def stat(self, address: str) -> Any:
        try:
            return super().stat(address)
        except InputError as error:
            raise InputError("permission", "no") from error

    def list(self, address: str) -> Iterator[Any]:
        raise SpecError(f"{address} cannot be listed")


def test_a_bucket_that_may_not_be_listed_has_nothing_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "origin_of", lambda *_: Refusing(*_[1:]))
    address = filled("refusing", **{"b.json": TEXT})
    assert camera(f"{address}/a.jpg") is None
    assert camera(f"{address}/b.jpg") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"fx": 800', "a.json: not readable as JSON"),
        ("[" * 100_000, "a.json: not readable"),
        ('{"fx": 1}', "needs fx"),
    ],
)
def test_what_is_no_camera_in_a_bucket(text: str, message: str) -> None:
    address = filled("broken", **{"a.json": text})
    with pytest.raises(InputError, match=message):
        camera(f"{address}/a.jpg")


def test_a_file_that_is_too_large_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.checks.intrinsics._LARGEST_BYTES", 10)
    with pytest.raises(InputError, match=r"a\.json: 44 bytes; at most 10 are read"):
        camera(f"{filled('large_file', **{'a.json': TEXT})}/a.jpg")


@pytest.mark.parametrize("shard", ["s3://bucket/a.tar", "/data/a.tar"])
def test_in_a_tar_shard_it_is_the_json_of_the_sample(shard: str) -> None:
    assert camera(f"{shard}#x/a.jpg", json=TEXT) == CAMERA
    assert camera(f"{shard}#x/a.jpg", json=json.dumps({"caption": "a sign"})) is None
    assert camera(f"{shard}#x/a.jpg", json=None) is None
    with pytest.raises(InputError, match="json: not readable as JSON"):
        camera(f"{shard}#x/a.jpg", json="{")
    assert camera("/data/a.jpg", json=TEXT) is None


def test_for_cells_and_on_the_web_no_file_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "origin_of", lambda *_: pytest.fail("asked"))
    assert camera("https://example.com/a.jpg?size=large") is None
    assert camera("s3://bucket/a.parquet#7", fov_deg=90) is not None
