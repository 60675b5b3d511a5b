"""What a run reports while it runs. This base drops it; jobs/display.py shows it. Knows nothing of terminals."""

from __future__ import annotations

from typing import Any

from operators.media.ahead import Fetching


class Progress(Fetching):
    def listing(self, files: int) -> None:
        """So many files were looked at so far."""

    def listed(self, inputs: int, skipped: dict[str, int]) -> None:
        """Inputs of the job, and what the listing left out, by reason."""

    def grown(self, new: int, changed: int, gone: int, *, asked_again: bool) -> None:
        """Inputs that the last listing found beside those that the job had. asked_again: whether the changed are."""

    def probed(self, inputs: int, total: int) -> None:
        """So many inputs are opened and cut into chunks."""

    def planned(self, rows: int, done: int, chunks: int) -> None:
        """Rows that the job will have, how many are committed already, chunks to go."""

    def remark(self, text: str) -> None:
        """What else is to be known of what is asked, and of what is not."""

    def starting(self, what: str) -> None:
        """Something that takes seconds begins (Ray, the engine)."""

    def receipt(self, receipt: dict[str, Any]) -> None:
        """One part is committed (a row of RECEIPTS)."""

    def ended(self) -> None:
        """Nothing more will come; also after an error."""
