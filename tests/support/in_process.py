"""A whole run without Ray: every chunk through the stages of a plan, here and one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipelines.plan import Stage
from pipelines.run import _Cluster


class InProcess(_Cluster):
    def begin(self) -> None:
        """Nothing to start."""

    def connect(self) -> None:
        """Nothing to join."""

    def execute(self, table: pa.Table, plan: list[Stage]) -> Iterator[pa.Table]:  # type: ignore[override]
        operators = [stage.operator(*stage.arguments) for stage in plan]
        try:
            for index in range(table.num_rows):
                rows = table.slice(index, 1)
                for operator in operators:
                    rows = operator(rows)
                yield rows
        finally:
            for operator in operators:
                getattr(operator, "close", lambda: None)()
