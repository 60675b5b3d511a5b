"""sightread in `sightread bench decode`: as a run reads a file, through the probe and the locked-down child, packed and
unpacked; and its bare readers, in one process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.bench.decode_readers import Shown, Wanted
from model.prompts.rgb import unpack
from operators.media.formats import DOCUMENT, VIDEO
from operators.media.opened import pictures
from operators.media.pdf import render_pdf
from operators.media.sandbox import Sandbox
from operators.media.source import opened_file
from operators.media.video import pyav_clips
from operators.units import Decoded, Planned
from schemas.decode import DecodeSettings
from schemas.errors import InputError
from schemas.input_uri import uri_of
from schemas.unit import Indexed
from schemas.version import VERSION


class Sandboxed:
    """One decoder child for all orders, as a decode actor has it."""

    version = f"sightread {VERSION}"

    def __init__(self) -> None:
        self._settings = DecodeSettings()
        self._sandbox = Sandbox(self._settings)

    def read(self, wanted: Wanted) -> Shown:
        """Raises InputError for what cannot be read."""
        if (settings := settings_of(wanted)) != self._settings:
            self._sandbox.close()
            self._settings, self._sandbox = settings, Sandbox(settings)
        media, address = media_of(wanted), uri_of(wanted.path)
        answer = self._sandbox.probe(address, media)
        _raise(answer.get("error"))
        units = [Indexed.of({"page": None, "start_s": None, "end_s": None, **unit}) for unit in answer["units"]]
        shown = Shown()
        for batch in self._sandbox.decode(address, media, units[: _most(wanted)]):
            row = {name: batch.column(name)[0] for name in ("error", "times_s", "pictures")}
            _raise(row["error"].as_py())
            frames = [unpack(picture) for picture in pictures(row["pictures"])]
            shown += zip(frames, row["times_s"].as_py() or [0.0], strict=True)
        return shown


class Bare:
    """The same readers without a child: nobody is kept from anything, and nothing is packed."""

    version = f"sightread {VERSION}"

    def read(self, wanted: Wanted) -> Shown:
        """Raises InputError for what cannot be read."""
        settings = settings_of(wanted)
        module: Any = render_pdf if media_of(wanted) == DOCUMENT else pyav_clips
        shown = Shown()
        with opened_file(Path(wanted.path)) as source:
            units: list[Planned] = module.probe(source, settings)
            for decoded in module.decode(source, units[: _most(wanted)], settings):
                if isinstance(decoded, InputError):
                    raise decoded
                assert isinstance(decoded, Decoded)
                shown += zip(decoded.frames, decoded.times_s or (0.0,), strict=True)
        return shown


def settings_of(wanted: Wanted) -> DecodeSettings:
    """The defaults, but for how often is looked."""
    return DecodeSettings(video_fps=wanted.fps, video_clip_s=wanted.clip_s) if wanted.times_s else DecodeSettings()


def media_of(wanted: Wanted) -> str:
    return VIDEO if wanted.times_s else DOCUMENT


def _most(wanted: Wanted) -> int | None:
    """Units; None for all."""
    return None if wanted.times_s else len(wanted.sizes)


def _raise(error: dict[str, Any] | None) -> None:
    if error is not None:
        raise InputError(error["kind"], error["message"])
