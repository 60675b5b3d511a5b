"""What feeds a run: the chunks that are to be done, planned a piece of the inputs at a time while the listing goes on.
Knows nothing of Ray.

Readers share the pieces of a job evenly and in order. A reader that is started again gives the same chunks in the same
order, which Ray counts on: a piece is written once, so is its chunk manifest, and what was committed is what was so
before the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from operators.store.addresses import store_at
from pipelines.folder import JobFolder
from pipelines.job import Job
from pipelines.planner import Before, Planner, alone, places
from pipelines.rounds import Round
from schemas.address import is_remote
from schemas.errors import JobConflict, SpecError, StoreLost

LOOK_S, REMOTE_LOOK_S = 0.2, 1.0
"""Between two looks at whether there are further pieces."""
DECODERS_PER_READER = 8
PROBERS = 4
"""Decoders of a reader that look into inputs."""


@dataclass(frozen=True)
class Source:
    """rounds: those that are there as a whole. listing: the run that lists meanwhile, as `JobFolder.write_listing` has
    it: what it brings is the round after them; None where nobody does. done: pieces of rounds of which nothing is to be
    done, by number. open_rounds, limit: as a Planner takes them."""

    job: Job
    rounds: tuple[Round, ...]
    before: Before
    listing: str | None = None
    done: frozenset[tuple[int, int]] = frozenset()
    open_rounds: tuple[int, ...] | None = None
    limit: int | None = None

    @property
    def readers(self) -> int:
        """How many there are: to decode an input takes many times as long as to look into it."""
        return 1 if self.limit is not None else max(1, self.job.workers // DECODERS_PER_READER)

    def chunks(self, reader: int) -> Iterator[pa.Table]:
        """One row of QUEUED_CHUNKS each. Total: what planning raises comes as the last one's plan."""
        probers = min(self.job.workers, PROBERS)
        folder = JobFolder(store_at(self.job.output))
        planner = Planner(
            *(self.job, folder, self.rounds, self.before),
            open_rounds=self.open_rounds,
            limit=self.limit,
            probers=probers,
        )
        try:
            for number, place in enumerate(self._places(folder)):
                began_s, started = time.time(), time.monotonic()
                if number % self.readers == reader and (planned := planner.plan(*place)) is not None:
                    planned.plan.update(began_s=began_s, busy_s=time.monotonic() - started)
                    yield from planned.queued()
        except (JobConflict, SpecError) as error:
            yield alone({"conflict": str(error)})
        except (OSError, StoreLost) as error:
            yield alone({"lost": str(error)})
        finally:
            planner.close()

    def _places(self, folder: JobFolder) -> Iterator[tuple[Round, int]]:
        yield from (place for place in places(folder, self.rounds) if (place[0].number, place[1]) not in self.done)
        if self.listing is None:
            return
        look_s = REMOTE_LOOK_S if is_remote(self.job.output) else LOOK_S
        done = 0
        while True:
            is_over = folder.is_listed(self.listing)  # first: what is there by then is all
            if (round_ := folder.round(len(self.rounds))) is not None:
                pieces = folder.pieces(round_.number)
                for index in range(done, pieces):
                    yield round_, index
                done = max(done, pieces)
            if is_over:
                return
            time.sleep(look_s)
