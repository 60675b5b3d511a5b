"""Checkpoints that are whole, sharded, tied or damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.nano.export import export
from model.nano.shape import config_json
from model.network.checkpoint import load
from model.network.config import Config
from model.network.hub import resolve, weights_sha256
from model.network.qwen3vl import Qwen3VL
from schemas.checkout import ROOT
from schemas.errors import SpecError
from tests.support.tiny import tiny_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "tiny")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = dict(other.named_parameters())
    return all(torch.equal(value, theirs[name]) for name, value in one.named_parameters())


def test_shards_are_the_single_file(folder: Path) -> None:
    whole = load(folder)
    parts = sorted(weights(folder).items())
    (folder / "model.safetensors").unlink()
    names = {}
    for number, part in enumerate((parts[::2], parts[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file(dict(part), folder / file)
        names.update({name: file for name, _ in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert same(load(folder), whole)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(SpecError, match="lacks model-00002-of-00002"):
        load(folder)


def test_a_tied_head_is_the_embedding_and_a_stored_one_has_to_be_the_same(folder: Path) -> None:
    """transformers 5 takes a stored head that differs, vLLM and transformers 4 do not."""
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match=r"lm_head\.weight is not the embedding table"):
        load(folder)
    stored = weights(folder)
    stored["lm_head.weight"] = stored["model.language_model.embed_tokens.weight"].clone()
    save_file(stored, folder / "model.safetensors")
    network = load(folder)
    hidden = torch.ones(1, network.config.text.hidden)
    assert torch.equal(network.logits(hidden), hidden @ network.language_model.embed_tokens.weight.T)


def test_every_fault_is_named_at_once(folder: Path) -> None:
    stored = weights(folder)
    stored["model.language_model.extra.weight"] = torch.zeros(3)
    del stored["model.visual.pos_embed.weight"]
    stored["lm_head.weight"] = torch.zeros(2, 2)
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(SpecError) as error:
        load(folder)
    for part in ("missing: ", "model.visual.pos_embed.weight", "unexpected: model.language_model.extra", "[2, 2], not"):
        assert part in str(error.value)


def test_a_file_that_was_cut_short_is_one_sentence(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SpecError, match=r"model\.safetensors cannot be read"):
        load(folder)


def test_what_is_no_folder_is_refused() -> None:
    with pytest.raises(SpecError, match="no checkpoint folder"):
        resolve("./not/here")


def test_the_hash_is_of_the_weights(folder: Path, tmp_path: Path) -> None:
    again = tiny_checkpoint(tmp_path / "again")
    other = tiny_checkpoint(tmp_path / "other", seed=1)
    (again / "generation_config.json").write_text("{}")
    assert weights_sha256(folder) == weights_sha256(again) != weights_sha256(other)


def test_weights_are_mapped_not_copied(tmp_path: Path) -> None:
    """Loading in the dtype of the file takes next to no memory of the process's own: pages of the file stand for
    the weights."""
    config = config_json(vision_hidden=64, vision_depth=1, text_hidden=1024, text_layers=2)
    network = Qwen3VL(Config.from_json(config))
    export(network, config, tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    code = (
        "import sys, torch; from pathlib import Path; from model.network.checkpoint import load\n"
        "def own(): return 1024 * int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0])\n"
        f"one = lambda: load(Path({str(tmp_path)!r}), dtype=torch.bfloat16)\n"
        "one()\n"  # what torch imports for it
        "before = own(); network = one()\n"
        # every page is touched
        "total = sum(int(each.flatten().view(torch.int16)[::512].sum()) for each in network.parameters())\n"
        "print(own() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert size > 30_000_000
    assert int(done.stdout) < size / 3
