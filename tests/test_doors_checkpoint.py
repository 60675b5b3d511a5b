"""A checkpoint that strangers made: absurd numbers, deep or endless JSON, headers that lie. One sentence, before
anything is built."""

from __future__ import annotations

import json
import os
import random
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model.engines.kinds import engine_kind
from model.network.checkpoint import load
from model.network.config import Config
from model.network.hub import load_config, weight_files
from model.network.qwen3vl import Qwen3VL
from model.prompts.chat import Chat
from model.prompts.line_image import line_reader_of
from model.prompts.preprocessors import pixel_budget
from model.prompts.presets import thinks
from schemas.engines.torch import Spec
from schemas.errors import SpecError
from schemas.json_file import MOST_BYTES
from tests.support.tiny import tiny_checkpoint

ABSURD = (10**12, 10**400, -1, 0, 1.5, 1e300, "9", True, None, [10**9], {"a": 1})
DEEP = "[" * 100_000
NESTED = '{"a":' * 100_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "tiny")


def opened(folder: Path) -> None:
    """All that an engine reads of a checkpoint before it runs: the first three lines by `plan`."""
    assert engine_kind(Spec(kind="torch", model=str(folder))).weights == folder
    pixel_budget(folder)
    line_reader_of(folder)
    thinks(folder)
    Chat(folder)
    load(folder)


def sentence(folder: Path) -> str:
    """What opening it ends with, at once."""
    started = time.monotonic()
    with pytest.raises(SpecError) as caught:
        opened(folder)
    assert time.monotonic() - started < 10
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 800
    return text


def places(value: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in value.items():
        yield (*before, key)
        if isinstance(inner, dict):
            yield from places(inner, (*before, key))


@pytest.mark.parametrize("layers", [10**12, 4000, 3])
def test_layers_that_the_weights_do_not_have(folder: Path, layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Qwen3VL, "__init__", lambda *_: pytest.fail("a network was built"))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for section, key in (("text_config", "num_hidden_layers"), ("vision_config", "depth")):
        path.write_text(json.dumps({**config, section: {**config[section], key: layers}}))
        assert str(layers) in sentence(folder)
        kind = engine_kind(Spec(kind="torch", model=str(folder)))
        with pytest.raises(SpecError, match=str(layers)):  # so is it before a run starts an engine
            kind.context(None)  # type: ignore[arg-type]  # the config is read first


def test_any_number_of_config_json_may_be_anything(
    folder: Path, amount: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    refused = total = 0
    started = time.monotonic()
    cases = [(place, value) for place in places(config) for value in ABSURD]
    for place, value in random.Random(15).sample(cases, amount(100, len(cases))):
        changed = json.loads(json.dumps(config))
        section = changed
        for key in place[:-1]:
            section = section[key]
        section[place[-1]] = value
        path.write_text(json.dumps(changed))
        total += 1
        try:
            load(folder)
        except SpecError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017  either outcome is right
    assert time.monotonic() - started < 120
    assert refused > total / 3
    figure(f"config.json: {total} absurd values, {refused} refused in a sentence, {total - refused} of no consequence")


@pytest.mark.parametrize("value", ABSURD)
def test_numbers_of_a_preprocessor(folder: Path, value: Any) -> None:
    path = folder / "preprocessor_config.json"
    for config in ({"patch_size": value}, {"size": {"longest_edge": value}}, {"min_pixels": value}, {"size": value}):
        path.write_text(json.dumps(config))
        try:
            budget = pixel_budget(folder)
        except SpecError:
            continue
        assert budget.token_side_px < 1 << 80


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "model.safetensors.index.json", "preprocessor_config.json", "video_preprocessor_config.json",
        "line_reader.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
    ],
)  # fmt: skip
def test_json_that_is_deep_endless_or_something_else(folder: Path, name: str) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    texts = [
        DEEP,
        NESTED,
        "[]",
        "3",
        "null",
        "",
        "\xff",
        '{"a": ' + "1" * 5000 + "}",
        "\ud800".encode("utf-8", "surrogatepass").hex(),
    ]
    for text in texts:
        (folder / name).write_bytes(text.encode("latin-1"))
        assert name in sentence(folder)
    with (folder / name).open("wb") as file:
        file.truncate(MOST_BYTES * 5)
    assert name in sentence(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)  # nobody writes to it
    assert name in sentence(folder)


def test_a_chat_template_without_end(folder: Path) -> None:
    with (folder / "chat_template.jinja").open("wb") as file:
        file.truncate(MOST_BYTES * 5)
    assert "longer than" in sentence(folder)


@pytest.mark.parametrize(
    "shards",
    [["../../etc/passwd"], ["/etc/passwd"], [""], [".."], [3], [None], [["a"]], [{"a": 1}], ["a\0b"], ["x" * 300]],
)
def test_an_index_names_files_of_its_folder_alone(folder: Path, shards: list[Any]) -> None:
    index = {"weight_map": {f"w{number}": shard for number, shard in enumerate(shards)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SpecError):
        weight_files(folder)


@pytest.mark.parametrize("map_of_weights", [3, None, [1, 2], "abc"])
def test_an_index_without_a_map(folder: Path, map_of_weights: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": map_of_weights}))
    assert "index.json" in sentence(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"", b"\0", struct.pack("<Q", 2**63), struct.pack("<Q", 10**9) + b"{}", struct.pack("<Q", 0),
        struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 4) + b"null", struct.pack("<Q", len(DEEP)) + DEEP.encode(),
        struct.pack("<Q", len(NESTED)) + NESTED.encode(), struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_a_header_that_lies(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(header)
    assert "model.safetensors" in sentence(folder)


def test_shapes_that_lie_are_compared_not_believed(folder: Path) -> None:
    path, name = folder / "model.safetensors", "model.visual.pos_embed.weight"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for shape in ([10**12, 10**12], [-1], ["a"], [], None, [1] * 10_000):
        text = json.dumps({**header, name: {**header[name], "shape": shape}}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
        sentence(folder)


def test_a_sound_checkpoint_is_read_as_before(folder: Path) -> None:
    opened(folder)
    config = load_config(folder)
    assert config == Config.from_json(json.loads((folder / "config.json").read_text()))
    assert (config.text.layers, config.vision.depth) == (2, 2)
