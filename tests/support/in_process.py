"""A whole run without Ray: every chunk through the stages of a plan, here and one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipelines.cluster import Cluster
from pipelines.plan import Stage
from pipelines.source import Source


def chunks_of(feed: pa.Table | Source) -> Iterator[pa.Table]:
    if isinstance(feed, Source):
        for reader in range(feed.readers):
            yield from feed.chunks(reader)
    else:
        yield from (feed.slice(index, 1) for index in range(feed.num_rows))


class InProcess(Cluster):
    def begin(self) -> None:
        """Nothing to start."""

    def connect(self) -> None:
        """Nothing to join."""

    def execute(self, feed: pa.Table | Source, plan: list[Stage]) -> Iterator[pa.Table]:  # type: ignore[override]
        operators = [stage.operator(*stage.arguments) for stage in plan]
        try:
            for rows in chunks_of(feed):
                for operator in operators:
                    rows = operator(rows)
                yield rows
        finally:
            for operator in operators:
                getattr(operator, "close", lambda: None)()
