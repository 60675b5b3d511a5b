"""Products on a CPU: by whichever kernel, the numbers are those of plain layers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from model.network import cpu_linear
from model.network.checkpoint import load
from model.network.cpu_linear import PLAIN_ROWS, PackedLinear, PackedTextMlp
from model.network.language import Mlp
from model.network.loaded import load_network
from tests.support.tiny import tiny_checkpoint

ROWS = (1, 3, 16, PLAIN_ROWS - 1, PLAIN_ROWS, PLAIN_ROWS + 77)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(params=[False, True], ids=["AVX2", "AVX-512"])
def _avx512(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: request.param)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sides", [(64, 160), (160, 64), (72, 200)])
def test_a_packed_layer_computes_what_a_plain_one_does(sides: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(*sides, bias=bias).requires_grad_(False)
    packed = PackedLinear(plain.weight, plain.bias, plain_rows=PLAIN_ROWS)
    for rows in ROWS:
        x = torch.randn(rows, sides[0])
        assert torch.allclose(packed(x), plain(x), atol=1e-5)
        assert torch.allclose(packed(x[None]), plain(x[None]), atol=1e-5)


def test_from_many_rows_on_the_product_is_the_plain_one_to_the_bit() -> None:
    plain = nn.Linear(64, 160).requires_grad_(False)
    packed = PackedLinear(plain.weight, plain.bias, plain_rows=PLAIN_ROWS)
    assert not packed.is_plain(torch.zeros(1, PLAIN_ROWS - 1, 64))
    x = torch.randn(1, PLAIN_ROWS, 64)
    assert packed.is_plain(x)
    assert torch.equal(packed(x), plain(x))


def test_the_feed_forward_layer_is_the_same_below_and_above(folder: Path) -> None:
    plain = load(folder).language_model.layers[0].mlp
    assert isinstance(plain, Mlp)
    packed = PackedTextMlp(plain, PLAIN_ROWS)
    for rows in ROWS:
        x = torch.randn(1, rows, plain.gate_proj.in_features)
        wanted = plain(x)
        assert (packed(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.usefixtures("_avx512")
def test_a_packed_network_computes_what_it_did(folder: Path) -> None:
    config = load(folder).config
    torch.manual_seed(0)
    patches, grid = torch.randn(4 * 6, 1536), torch.tensor([[1, 4, 6]])
    ids = torch.tensor([[1, *[config.image_id] * 6, *range(40)]])
    places = torch.arange(ids.shape[1]).expand(3, 1, -1)

    def logits(network: nn.Module) -> torch.Tensor:
        return network.logits(network(ids, places, network.vision(patches, grid)))  # type: ignore[no-any-return, operator]

    with torch.inference_mode():
        wanted, packed = logits(load(folder)), logits(load_network(folder, dtype="float32", device="cpu"))
    assert (packed - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_the_vision_tower_stays_plain_where_that_is_faster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for avx512 in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda avx512=avx512: avx512)
        network = load_network(folder, dtype="float32", device="cpu")
        assert any(isinstance(module, PackedLinear) for module in network.visual.modules()) == avx512
        assert isinstance(network.lm_head, PackedLinear)
        assert not any(isinstance(module, nn.Linear) for module in network.language_model.modules())


def test_bfloat16_gives_way_where_the_cpu_would_emulate_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("model.network.loaded.computes_bfloat16", lambda: False)
    with caplog.at_level(logging.WARNING):
        network = load_network(folder, dtype="bfloat16", device="cpu")
    assert network.language_model.embed_tokens.weight.dtype == torch.float32
    assert [record.message for record in caplog.records] == [
        "in float32: this CPU has neither AVX512_BF16 nor AMX, and would only emulate bfloat16"
    ]
    monkeypatch.setattr("model.network.loaded.computes_bfloat16", lambda: True)
    network = load_network(folder, dtype="bfloat16", device="cpu")
    assert network.language_model.embed_tokens.weight.dtype == torch.bfloat16


def test_bfloat16_is_believed_of_a_cpu_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for avx512_bf16, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda value=avx512_bf16: value)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda value=amx: value)
        assert cpu_linear.computes_bfloat16() == (avx512_bf16 or amx)


HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not HUGE.exists() or "[madvise]" not in HUGE.read_text(), reason="huge pages are not for who asks")
def test_an_engine_s_tensors_lie_in_huge_pages() -> None:
    """In a process of its own, for torch looks at its variable once."""
    script = (
        "import model.engines.runner\n"
        "from model.network.cpu_linear import PackedLinear, use_huge_pages\n"
        "import torch\n"
        "use_huge_pages()\n"
        "packed = PackedLinear(torch.ones(4096, 4096))\n"
        "lines = open('/proc/self/smaps_rollup').read().splitlines()\n"
        "print(next(line for line in lines if line.startswith('AnonHugePages')).split()[1])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 48 << 10, "kB: the weight alone has 64 MB"
