"""Open each input just far enough to know its units. Knows no format: a sandboxed decoder does.

Total: an input that cannot be read is one failed unit, whatever it did to its decoder.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa

from operators.media.ahead import Ahead, Fetching, Run
from operators.media.formats import EPISODE, TEXT, names_no_format, unit_kind_of
from operators.media.sandbox import Sandbox
from schemas import tables
from schemas.address import name_of
from schemas.decode import DecodeSettings
from schemas.errors import Failure


class Probe:
    """INPUTS in, PLANNED_UNITS out, in the order of the inputs; `workers` decoders at once, and inputs that lie
    elsewhere are fetched ahead of them. fetching: told of that. Raises StoreLost."""

    def __init__(self, settings: DecodeSettings, *, workers: int = 1, fetching: Fetching | None = None) -> None:
        self._ahead = Ahead(settings.fetch, fetching)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="probe")
        self._sandboxes = [Sandbox(settings) for _ in range(workers)]
        self._free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        for sandbox in self._sandboxes:
            self._free.put(sandbox)

    def __call__(self, inputs: pa.Table) -> pa.Table:
        sources = inputs.to_pylist()
        run = self._ahead.of(
            [(source["input_uri"], source["version"]) if _is_file(source) else None for source in sources]
        )
        probed = self._executor.map(partial(self._units, run), range(len(sources)), sources)
        rows = [unit for units in probed for unit in units]
        return pa.Table.from_pylist(rows, schema=tables.PLANNED_UNITS)

    @property
    def lacks(self) -> set[str]:
        """Of its decoders."""
        return {lack for sandbox in self._sandboxes for lack in sandbox.lacks}

    def close(self) -> None:
        self._ahead.close()
        self._executor.shutdown()
        for sandbox in self._sandboxes:
            sandbox.close()

    def _units(self, run: Run, index: int, source: dict[str, Any]) -> list[dict[str, Any]]:
        media, version, units = source["media"], run.version(index), list[dict[str, Any]]()
        error = source["error"]
        if error is None and media == TEXT:
            units = [{}]
        elif error is None:
            sandbox = self._free.get()
            try:
                # a name may say what the file is not; what it is opened as counts from here on
                answer = sandbox.probe(source["input_uri"], media if media == EPISODE else None, version)
                if _is_only_called_so(source, answer):
                    answer = sandbox.probe(source["input_uri"], media, version)
            finally:
                self._free.put(sandbox)
            media, error, units = answer["media"] or media, answer.get("error"), answer.get("units", [])
            version = answer.get("version")
            if not error and not units:
                error = vars(Failure("probe", "no_frames", "there is nothing in it"))
        if error:
            units = [{"error": error}]
        same = {
            "input_id": source["input_id"],
            "input_uri": source["input_uri"],
            "version": version,
            "media": media,
            "unit_kind": unit_kind_of(media) if media else None,
            "unit_count": len(units),
        }
        return [{**same, "unit_index": index, **unit} for index, unit in enumerate(units)]


def _is_only_called_so(source: dict[str, Any], answer: dict[str, Any]) -> bool:
    """Whether nothing tells what it is but what the row of a table calls it: a file of that name would be opened as
    that."""
    is_unknown = (answer.get("error") or {}).get("kind") == "unknown_type"
    return is_unknown and source["media"] is not None and names_no_format(name_of(source["input_uri"]))


def _is_file(source: dict[str, Any]) -> bool:
    return source["error"] is None and source["media"] not in (TEXT, EPISODE)
