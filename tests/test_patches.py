"""Pixels on their way to the vision tower: bytes until they are where they are used, then patches, normalized."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.engines.encoder_cache import EncoderCache, encode
from model.engines.torch_engine import MOST_PREPARERS, preparers
from model.network.qwen3vl import Visual
from model.prompts.preprocess import byte_patches, frame_pixels, normalize, patchify, to_patches
from model.prompts.rgb import pack, unpack
from schemas.request import Clip, Picture
from tests.support.tiny import noise_picture


def clip(frames: int, height_px: int = 64, width_px: int = 96) -> Clip:
    return Clip(tuple(noise_picture(height_px, width_px, n) for n in range(frames)), tuple(map(float, range(frames))))


def gray_picture(height_px: int, width_px: int, seed: int = 0) -> Picture:
    gray = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 1), np.uint8)
    return pack(np.repeat(gray, 3, axis=2))


CONTENTS = {
    "a picture": noise_picture(96, 64),
    "a wide picture": noise_picture(32, 256),
    "a clip": clip(4),
    "a clip of three": clip(3),
    "a clip of one": clip(1),
    "a picture without color": gray_picture(96, 64),
    "a clip without color": Clip((gray_picture(64, 96), gray_picture(64, 96, 1)), (0.0, 1.0)),
    "a clip some of which has color": Clip((gray_picture(64, 96), noise_picture(64, 96, 1)), (0.0, 1.0)),
}


def frames_of(content: Picture | Clip) -> list[np.ndarray]:
    frames = [content, content] if isinstance(content, Picture) else list(content.frames)
    return [unpack(frame) for frame in (frames if len(frames) % 2 == 0 else [*frames, frames[-1]])]


@pytest.mark.parametrize("name", CONTENTS)
def test_each_value_of_a_patch_is_its_pixel(name: str) -> None:
    """Patches of a token are neighbors; a patch is channel, frame, row, column."""
    frames = frames_of(CONTENTS[name])
    patches, (t, h, w) = byte_patches(CONTENTS[name])
    assert (t, h * 16, w * 16) == (len(frames) // 2, *frames[0].shape[:2])
    blocks = patches.view(t, h // 2, w // 2, 2, 2, 3, 2, 16, 16).numpy()
    generator = np.random.default_rng(0)
    for _ in range(500):
        time, row, column, down, right, channel, frame, y, x = generator.integers(0, blocks.shape)
        pixel = frames[2 * time + frame][(2 * row + down) * 16 + y, (2 * column + right) * 16 + x, channel]
        assert blocks[time, row, column, down, right, channel, frame, y, x] == pixel


def test_normalized_patches_are_to_the_bit_what_the_bytes_divided_are() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(normalize(values), torch.from_numpy(np.arange(256, dtype=np.float32) / np.float32(127.5) - 1))
    patches, grid = patchify(CONTENTS["a clip"])
    pixels, same = frame_pixels(CONTENTS["a clip"])
    assert grid == same
    assert torch.equal(normalize(to_patches(pixels)), patches)


class Tower:
    """Stands for a network: keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[torch.Tensor, list[list[int]]]] = []

    def vision(self, patches: torch.Tensor, grid: torch.Tensor) -> Visual:
        self.seen.append((patches, grid.tolist()))
        return Visual(torch.zeros(len(patches) // 4, 8), ())


def test_what_waits_is_bytes_and_what_is_encoded_is_what_patchify_says() -> None:
    cache, tower = EncoderCache(), Tower()
    asked = list(CONTENTS.values())
    items = [cache.preprocess(content)[0] for content in asked]
    waiting = [item.pixels for of_one in items for item in of_one if item.pixels is not None]
    assert {pixels.dtype for pixels in waiting} == {torch.uint8}
    assert sum(pixels.numel() for pixels in items[0][0].pixels.unbind(1)) == 3 * 96 * 64, "a picture is there once"
    flat = [item for of_one in items for item in of_one]
    encode(tower, flat, dtype=torch.float32, device="cpu")  # type: ignore[arg-type]
    [(patches, grids)] = tower.seen
    assert torch.equal(patches, torch.cat([patchify(content)[0] for content in asked]))
    assert grids == [list(item.grid) for item in flat]
    assert [item.pixels for item in flat] == [None] * len(flat)
    assert [len(item.encoded.embeds) for item in flat if item.encoded] == [item.tokens for item in flat]


def test_pixels_for_a_gpu_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[bool] = []

    def empty(*arguments: object, pin_memory: bool = False, **options: object) -> torch.Tensor:
        pinned.append(pin_memory)
        return plain(*arguments, **options)

    plain = torch.empty
    monkeypatch.setattr(torch, "empty", empty)
    EncoderCache(pinned=True).preprocess(CONTENTS["a picture"])
    EncoderCache().preprocess(CONTENTS["a picture"])
    assert pinned == [True, False]


def test_frames_that_are_no_clip_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        patchify(Clip((noise_picture(32, 64), noise_picture(64, 32)), (0.0, 1.0)))
    with pytest.raises(ValueError, match="multiples of 32"):
        patchify(noise_picture(48, 64))


def test_more_cores_prepare_where_a_step_does_not_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, cuda in ((1, 2), (2, 2), (6, 4), (16, MOST_PREPARERS)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert (preparers("cuda"), preparers("cpu")) == (cuda, 2)
