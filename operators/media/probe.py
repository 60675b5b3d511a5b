"""Open each input just far enough to know its units. Knows no format: a sandboxed decoder does.

Total: an input that cannot be read is one failed unit, whatever it did to its decoder.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from operators.media.formats import EPISODE, TEXT, unit_kind_of
from operators.media.sandbox import Sandbox
from schemas import tables
from schemas.decode import DecodeSettings
from schemas.errors import Failure


class Probe:
    """INPUTS in, PLANNED_UNITS out, in the order of the inputs; `workers` decoders at once. Raises StoreLost."""

    def __init__(self, settings: DecodeSettings, *, workers: int = 1) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="probe")
        self._sandboxes = [Sandbox(settings) for _ in range(workers)]
        self._free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        for sandbox in self._sandboxes:
            self._free.put(sandbox)

    def __call__(self, inputs: pa.Table) -> pa.Table:
        rows = [unit for units in self._executor.map(self._units, inputs.to_pylist()) for unit in units]
        return pa.Table.from_pylist(rows, schema=tables.PLANNED_UNITS)

    @property
    def lacks(self) -> set[str]:
        """Of its decoders."""
        return {lack for sandbox in self._sandboxes for lack in sandbox.lacks}

    def close(self) -> None:
        self._executor.shutdown()
        for sandbox in self._sandboxes:
            sandbox.close()

    def _units(self, source: dict[str, Any]) -> list[dict[str, Any]]:
        media, version, units = source["media"], source["version"], list[dict[str, Any]]()
        error = source["error"]
        if error is None and media == TEXT:
            units = [{}]
        elif error is None:
            sandbox = self._free.get()
            try:
                # a name may say what the file is not; what it is opened as counts from here on
                answer = sandbox.probe(source["input_uri"], media if media == EPISODE else None, version)
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
