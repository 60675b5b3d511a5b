"""Ray for a run: begun when there will be something to do, joined when there is, and left at the end."""

from __future__ import annotations

from collections.abc import Generator

import pyarrow as pa

from pipelines.job import Job
from pipelines.plan import Stage
from pipelines.progress import Progress
from pipelines.ray_answers import Answered
from pipelines.source import Source


class Cluster:
    """Ray, from the first plan that is run until the end of the block; not at all where none is. answered: what its
    engines are to tell of their answers."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._workers = job.workers
        self._progress = progress
        self._begun = self._connected = False
        self.answered = Answered()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun:
            from pipelines import ray_data

            ray_data.disconnect()

    def begin(self) -> None:
        """Have it start, while inputs are looked into for work that is to be had."""
        if not self._begun:
            from pipelines import ray_data

            self._progress.starting("Ray")
            self._begun = True
            ray_data.begin(self._workers)

    def connect(self) -> None:
        if not self._connected:
            from pipelines import ray_data  # seconds, and not for `plan`

            self.begin()
            self._connected = True
            ray_data.connect(self._workers)

    def execute(self, feed: pa.Table | Source, plan: list[Stage]) -> Generator[pa.Table]:
        from pipelines import ray_data

        self.connect()
        with self.answered.watched(self._progress.answered):
            yield from ray_data.execute(feed, plan)
