"""Show a run on a terminal: a line that is drawn anew there, plain lines elsewhere, and the table at the end.

What is shown while it runs is logged too. Knows nothing of how a job is run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from rich import progress as bars
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from jobs.shown_rows import state_cells, why_lines
from jobs.terminal import cell as cell
from jobs.terminal import console_for as console_for
from jobs.terminal import show_line as show_line
from jobs.terminal import show_table as show_table
from operators.store.addresses import local_path
from operators.store.results import Results
from pipelines.pace import Pace, asked_ago_s
from pipelines.progress import Progress
from pipelines.summary.summary import Summary
from pipelines.summary.utilization import UtilizationSummary
from schemas.state import STATES

_PLAIN_EVERY_S = 10.0
_LISTED_EVERY_S = 3.0

_log = logging.getLogger(__name__)


class Seldom:
    """When something that goes on is told of again: after pauses each half as long again, up to a minute."""

    def __init__(self, first_s: float = 3.0) -> None:
        self._pause_s = first_s
        self._at_s = time.monotonic()

    def again(self) -> bool:
        if time.monotonic() - self._at_s < self._pause_s:
            return False
        self._at_s = time.monotonic()
        self._pause_s = min(60.0, 1.5 * self._pause_s)
        return True


class Display(Progress):
    """Progress on `console`; within `with`, or until `close`. Where it is a terminal, a line that is drawn anew four
    times a second whatever happens; elsewhere a line at most every ten seconds, when there is something new."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = bars.Progress(
            bars.SpinnerColumn(),
            bars.BarColumn(12),
            _Line(self._status),
            console=console,
            transient=True,
            refresh_per_second=4,
            expand=True,
            disable=not console.is_terminal,
        )
        self._row = self._bar.add_task("", total=None)
        self._pace = Pace()
        self._what = ""
        self._total = self._before = self._fresh = self._tokens = self._answered = self._failures = self._doubtful = 0
        self._fetched = self._fetched_bytes = 0
        self._lock = threading.RLock()  # some is told by other threads
        self._logged_at = 0.0
        self._began_s = self._listed_at = time.monotonic()
        self._planning, self._probing = Seldom(), Seldom()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is drawn any more. May be called twice."""
        self._bar.stop()

    def listing(self, files: int) -> None:
        self._begin("listing")
        if time.monotonic() - self._listed_at > _LISTED_EVERY_S:
            self._listed_at = time.monotonic()
            self._line(f"listed {files} files so far")

    def listed(self, inputs: int, skipped: dict[str, int]) -> None:
        self._begin("looking into the inputs")
        left_out = ", ".join(f"{number} {reason}" for reason, number in sorted(skipped.items()))
        self._line(f"{inputs} inputs" + (f"; left out: {left_out}" if left_out else ""))

    def grown(self, new: int, changed: int, gone: int, *, asked_again: bool) -> None:
        parts = [f"{new} new"] * (new > 0)
        advice = "asked again" if asked_again else "--changed asks again"
        parts += [f"{changed} changed ({advice})"] * (changed > 0)
        parts += [f"{gone} gone (their rows stay)"] * (gone > 0)
        self._line(f"inputs: {', '.join(parts)}")

    def fetched(self, size_bytes: int) -> None:
        with self._lock:
            self._fetched += 1
            self._fetched_bytes += size_bytes
            if time.monotonic() - self._logged_at > _PLAIN_EVERY_S:
                self._line(f"fetched {self._fetched} inputs, {self._fetched_bytes / 2**20:,.0f} MB")

    def waiting(self, address: str) -> None:
        with self._lock:
            if time.monotonic() - self._logged_at > _PLAIN_EVERY_S:
                self._line(f"fetching {address.partition('?')[0]}")

    def probed(self, inputs: int, total: int) -> None:
        if total > inputs and self._probing.again():
            self._line(f"probed {inputs} of {total} inputs")

    def planned(self, rows: int, done: int, chunks: int) -> None:
        known = self._total > 0  # more is planned while others are answered
        self._total, self._before = rows, done
        self._draw()
        if known and not self._planning.again():
            return
        if done == rows:
            self._line(f"{rows} rows, all committed before; nothing to do")
        else:
            before = f", {done} of them committed before" if done else ""
            self._line(f"{rows} rows to have{before}; {chunks} chunks to go")

    def remark(self, text: str) -> None:
        self._line(text)

    def starting(self, what: str) -> None:
        self._begin(f"starting {what}")
        self._line(f"starting {what}")

    def answered(self, rows: int, tokens: int, asked_ago_s: float | None) -> None:
        with self._lock:
            self._reached(rows, tokens, asked_ago_s)
            if time.monotonic() - self._logged_at > _PLAIN_EVERY_S:
                self._tell()

    def receipt(self, receipt: dict[str, Any]) -> None:
        if receipt["outcome"] == "failed":
            self._line(f"not committed: {receipt['task']}/{receipt['chunk_id']}: {receipt['message']}")
            return
        with self._lock:
            self._fresh += receipt["rows"]
            self._tokens += receipt["output_tokens"]
            self._doubtful += receipt["doubtful"] or 0
            self._failures += sum(failure["rows"] for failure in receipt["failures"])
            self._reached(self._fresh, self._tokens, asked_ago_s(receipt))
            if time.monotonic() - self._logged_at > _PLAIN_EVERY_S or self._before + self._fresh == self._total:
                self._tell()

    def publishing(self) -> None:
        self._begin("publishing")

    def _begin(self, what: str) -> None:
        """what: goes on until something else does."""
        self._what = what
        self._draw()

    def _reached(self, rows: int, tokens: int, ago_s: float | None) -> None:
        """So many new rows are answered, by the engines' word or by the commit's."""
        self._what = ""
        self._answered = max(self._answered, rows)
        self._pace.reached(rows, tokens, time.monotonic(), ago_s or 0.0)
        self._draw()

    @property
    def _done(self) -> int:
        return min(self._total, self._before + self._answered)

    def _draw(self) -> None:
        self._bar.update(self._row, total=self._total or None, completed=self._done)
        if self.console.is_terminal:
            self._bar.start()  # once; then it does nothing

    def _status(self, *, live: bool) -> str:
        """live: what matters most comes first, for a terminal may be narrow."""
        now_s = time.monotonic()
        rates, left_s = self._pace.rates(now_s), self._pace.left_s(self._total - self._done, now_s)
        rows = [f"{self._done}/{self._total} rows"] if self._total else []
        poor = [f"{self._failures} failed"] if rows else []
        poor += [f"{self._doubtful} doubtful"] if self._doubtful else []
        pace = [f"{rates[0]:.2f} rows/s", f"{rates[1]:.0f} tokens/s"] if rates is not None else []
        left = [f"{clock(left_s)} to go"] if left_s is not None else []
        if not live:
            return ", ".join([*rows, *poor, *pace, *left])
        since = f"{clock(now_s - self._began_s)} so far"
        return ", ".join(filter(None, [self._what, *rows, *left, since, *poor, *pace]))

    def _tell(self) -> None:
        """On a terminal the line that is drawn says it."""
        text = self._status(live=False)
        if self.console.is_terminal:
            self._log(text)
        else:
            self._line(text)

    def _log(self, text: str) -> None:
        self._logged_at = time.monotonic()
        _log.info("%s", text)

    def _line(self, text: str) -> None:
        self._log(text)
        show_line(self.console, text)


class _Line(bars.ProgressColumn):
    """What a function says at the moment it is drawn."""

    def __init__(self, status: Callable[..., str]) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", ratio=1))
        self._status = status

    def render(self, task: bars.Task) -> Text:  # noqa: ARG002
        return cell(self._status(live=True))


def show_summary(summary: Summary, console: Console, going_on: str = "the same command again") -> None:
    """The table at the end of a run. going_on: what does the rows that are still open."""
    table = Table(title=cell(summary.name), title_justify="left", show_edge=False)
    for column in ("task", "rows", *STATES, "missing", "duplicate"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for name, audit in summary.tasks.items():
        table.add_row(
            cell(name),
            f"{audit.rows} of {audit.planned}",
            *map(cell, state_cells(audit.states, audit.faults, audit.failed)),
            str(audit.missing) if summary.complete or not audit.missing else f"{audit.missing} still to do",
            str(audit.duplicate + audit.unexpected),
        )
    show_table(console, table)
    if summary.engine is not None:
        show_table(console, use_table(summary.engine))
    for line in _lines(summary, going_on):
        show_line(console, line)


def _lines(summary: Summary, going_on: str) -> Iterator[str]:
    """What stands below the table."""
    for name, audit in summary.tasks.items():
        of = f"{name}: " if len(summary.tasks) > 1 else ""
        yield from (f"{of}{line}" for line in why_lines(audit.faults, audit.messages))
    if any(audit.states["unsure"] for audit in summary.tasks.values()):
        yield f"unsure: {STATES['unsure']}"
    if summary.engine is not None:
        yield use_line(summary.engine)
    for kind, number in summary.unmatched.items():
        yield f"{number} {kind} units were not asked about: no task of this job takes them"
    if summary.code_checks:
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in sorted(summary.code_checks.items()))
        yield f"code tried out: {outcomes}"
    for line in summary.uncommitted[:5]:
        yield f"not committed: {line}"
    spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in summary.seconds.items() if seconds >= 0.05)
    yield f"{summary.new_rows} new rows in {summary.wall_s:.1f} s ({spent})"
    if summary.engine is not None and summary.engine.deaths:
        folder = local_path(summary.output)
        logs = f"its log: {folder}/_job/logs/"
        if folder is None:  # it lies on the node, which may be gone
            logs = f"the last lines of its log: sightread status {summary.output} --events 50"
        yield f"the engine died {summary.engine.deaths} times and was started anew; {logs}"
    if summary.isolation_lacks:
        yield f"decoders ran without: {', '.join(summary.isolation_lacks)} (sightread doctor says what it means)"
    results = Results.at(summary.output)
    yield f"look at it: sightread show {summary.output}"
    for task in summary.tasks:  # each has a type of its own, so a reader takes one at a time
        yield f"Parquet of {task}: {results.pattern(task)}"
    if not summary.complete:
        yield f"Not all rows are there yet; {going_on} goes on."
    if summary.exit_code == 3:
        yield (
            f"{summary.failed_fraction:.1%} of the rows failed and {summary.doubtful_fraction:.1%} are doubtful: more "
            f"than {' and '.join(summary.limits_passed)} allows"
        )


def use_table(use: UtilizationSummary) -> Table:
    """A line for each stage; its busy and its idle seconds add up to its workers x the span."""
    table = Table(show_edge=False)
    for column in ("stage", "workers", "busy", "idle", "share"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in use.stages:
        seconds = (f"{seconds:,.1f} s" for seconds in (stage.busy_s, stage.idle_s))
        table.add_row(cell(stage.stage), str(stage.workers), *seconds, f"{stage.share:.1%}")
    return table


def use_line(use: UtilizationSummary) -> str:
    """What stands below it."""
    return (
        f"bottleneck: {use.bottleneck}; {use.utilization:.1%} of the engine's slots in use, "
        f"{use.tokens_per_s:.0f} tokens/s; busy + idle = workers x {use.span_s:.1f} s, from the first request on"
    )


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
