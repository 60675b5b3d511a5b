"""What a run would do now, from what is there: its own planning over an output that keeps the changes to itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from operators.store.addresses import store_at
from operators.store.overlay import Overlay
from operators.store.view import View
from pipelines.folder import JobFolder
from pipelines.growth import check_tasks, grow
from pipelines.job import Job
from pipelines.listing import Listing
from pipelines.planner import Work, plan_work
from pipelines.planning import check_output, list_job
from pipelines.progress import Progress
from pipelines.rounds import definitions


@dataclass(frozen=True)
class Outlook:
    """begun: whether a job is there already. grown: new, changed and gone inputs."""

    begun: bool
    listing: Listing
    grown: dict[str, Any]
    work: Work


def outlook(job: Job) -> Outlook:
    """Writes nothing, and looks into no input that was looked into before. Raises what a run would."""
    store = Overlay(store_at(job.output))
    folder, view = JobFolder(store), View(store)
    begun = check_output(job, folder)
    rounds = folder.rounds() if begun else []
    job = job.as_there(definitions(rounds))
    redo = check_tasks(job, rounds, view, redo=())
    listing = list_job(job)
    rounds = grow(job, folder, view, rounds, redo, listing, changed=False)
    work = plan_work(job, folder, rounds, None, Progress())
    there = folder.read_listing()
    return Outlook(begun, listing, {key: there[key] for key in ("new", "changed", "gone")}, work)
