"""What `sightread bench scale` shows of its figures: three tables, and what follows for ten million inputs."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from math import nan
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.bench.scale_meter import DRIVER, ENGINE, PARTS, Ran
from jobs.bench.scale_rounds import FIRST_ASK, FIRST_ROW, RUN, Grown, Single, Unit, median

MANY = 10_000_000
_FEW = 1000
"""Rows between two jobs, below which their difference says nothing."""


@dataclass
class Figures:
    grown: list[Grown] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    single: list[Single] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What was measured, and what is reckoned from it."""
        return {
            **asdict(self),
            "cores": os.cpu_count(),
            "per_unit_ms": [
                {"checkout": unit.checkout, "kind": unit.kind, **unit_ms(unit), "around_engine": around_engine_ms(unit)}
                for unit in self.units
            ],
            "driver": [asdict(driver) for driver in drivers(self.grown)],
        }


@dataclass(frozen=True)
class Driver:
    """What an input more costs the driver: between jobs of two sizes, of which the smaller is not tiny.

    many_mb, many_hours: of memory and CPU that it would take for ten million of them."""

    checkout: str
    where: str
    sizes: tuple[int, int]
    ms: float
    kb: float
    many_mb: float
    many_hours: float


def drivers(grown: Sequence[Grown]) -> Iterator[Driver]:
    for (checkout, where), ones in _series(grown).items():
        for less, more in list(pairwise(ones))[-1:]:
            if (rows := more.rows - less.rows) < _FEW:
                continue
            ms = (more.run.driver_s - less.run.driver_s) * 1000 / rows
            kb = (more.run.driver_mb - less.run.driver_mb) * 1000 / rows
            many_mb = more.run.driver_mb + kb * (MANY - more.rows) / 1000
            yield Driver(checkout, where, (less.inputs, more.inputs), ms, kb, many_mb, ms * MANY / 3.6e6)


def _series(grown: Sequence[Grown]) -> dict[tuple[str, str], list[Grown]]:
    """By checkout and where the inputs lie, the smallest first."""
    series: dict[tuple[str, str], list[Grown]] = defaultdict(list)
    for one in sorted(grown, key=lambda one: one.inputs):
        series[one.checkout, one.where].append(one)
    return series


def unit_ms(unit: Unit) -> dict[str, float]:
    """CPU of a unit, by part."""

    def of(part: str, ran: Ran) -> float:
        return ran.cpu_s.get(part, 0.0)

    parts = [part for part in PARTS if any(of(part, ran) for ran in unit.runs)]
    return {part: unit.ms(lambda ran, part=part: of(part, ran)) for part in parts}  # type: ignore[misc]


def around_engine_ms(unit: Unit) -> float:
    return unit.ms(lambda ran: ran.around_engine_s)


def show(figures: Figures, console: Console) -> None:
    cores = f"{os.cpu_count()} cores"
    if figures.single:
        console.print(_single_table(figures.single, cores))
    if figures.units:
        console.print(_unit_table(figures.units, cores))
    if figures.grown:
        console.print(_grown_table(figures.grown, cores))
    for line in (*map(_extrapolated, drivers(figures.grown)), *comparisons(figures)):
        console.print(escape(line), highlight=False, soft_wrap=True)


def comparisons(figures: Figures) -> Iterator[str]:
    """Jobs of many inputs beside those of few, a unit beside that of another checkout, `run` beside bare pools."""
    for (checkout, where), ones in _series(figures.grown).items():
        least, *_, most = ones if len(ones) > 1 else (*ones, *ones)
        if most is least:
            continue
        later_s = most.run.seen.get(FIRST_ROW, nan) - least.run.seen.get(FIRST_ROW, nan)
        line = f"{checkout}, {most.inputs:,} {where}: first row {later_s:+.1f} s beside {least.inputs:,}"
        if (middle := ones[-2]).run.driver_mb:
            times = most.run.driver_mb / middle.run.driver_mb
            line += f", {times:.2f} times the driver's memory beside {middle.inputs:,}"
        yield line
    for unit in figures.units:
        first = next(other for other in figures.units if other.kind == unit.kind)
        if unit is not first:
            times = _over(around_engine_ms(first), around_engine_ms(unit))
            driver = _over(unit_ms(first).get(DRIVER, nan), unit_ms(unit).get(DRIVER, nan))
            line = f"a {unit.kind}: {times:.2f} times the CPU of {unit.checkout} without the engine"
            yield f"{line}, {driver:.2f} the driver's"
    pools = [one for one in figures.single if not one.checkout]
    for one in figures.single:
        for pool in pools if one.what == RUN else ():
            first_s = _over(median(one.first_s()), median(pool.first_s()))
            cpu_s = _over(median(one.cpu_s()), median(pool.cpu_s()))
            yield f"{one.what}, {one.checkout}: {first_s:.2f} times the seconds, {cpu_s:.2f} the CPU of {pool.what}"


def _over(one: float, other: float) -> float:
    """How many times; of too little to be seen there is none."""
    return one / other if other > 0 else nan


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if table.columns else "left")
    return table


def _single_table(single: Sequence[Single], cores: str) -> Table:
    table = _table(f"One picture on {cores}: median (least to most)", "", "", "first answer s", "CPU-s")
    for one in sorted(single, key=lambda one: (one.what, one.checkout)):
        table.add_row(one.what, one.checkout, _spread(one.first_s()), _spread(one.cpu_s()))
    return table


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else f"{values[0]:.1f}"


def _unit_table(units: Sequence[Unit], cores: str) -> Table:
    heads = [f"{unit.kind}, {unit.checkout}" for unit in units]
    title = f"CPU of a unit on {cores}, ms: the difference of two sizes"
    table = _table(title, "", *map(escape, heads))
    by_unit = [unit_ms(unit) for unit in units]
    for part in PARTS:
        if any(part in ms for ms in by_unit):
            table.add_row(part, *(f"{ms[part]:.2f}" if part in ms else "-" for ms in by_unit))
    table.add_section()
    table.add_row(f"without the {ENGINE}", *(f"{around_engine_ms(unit):.2f}" for unit in units))
    ceilings = [1000 / ms[DRIVER] if ms.get(DRIVER, 0) > 0 else 0 for ms in by_unit]
    table.add_row("a second, by one driver", *(f"{ceiling:,.0f}" if ceiling else "-" for ceiling in ceilings))
    table.add_row("units", *(f"{unit.sizes[0]:,} and {unit.sizes[1]:,}" for unit in units))
    return table


def _grown_table(grown: Sequence[Grown], cores: str) -> Table:
    columns = ("inputs", "", "first row s", "driver MB", "driver CPU-s", "all CPU-s", "resumed: first ask s", "MB")
    table = _table(f"Links of one picture of 64 x 64 px, or keys, on {cores}", *columns)
    for one in grown:
        again = one.resumed
        table.add_row(
            f"{one.inputs:,} {one.where}",
            one.checkout,
            _seen(one.run, FIRST_ROW),
            f"{one.run.driver_mb:.0f}",
            f"{one.run.driver_s:.1f}",
            f"{one.run.all_s:.1f}",
            _seen(again, FIRST_ASK) if again is not None else "",
            f"{again.driver_mb:.0f}" if again is not None else "",
        )
    return table


def _seen(ran: Ran, sign: str) -> str:
    return f"{ran.seen[sign]:.1f}" if sign in ran.seen else "-"


def _extrapolated(driver: Driver) -> str:
    less, more = driver.sizes
    ceiling = f"at most {1000 / driver.ms:,.0f} a second by one driver" if driver.ms > 0 else "too little to be seen"
    return (
        f"{driver.checkout}, {less:,} to {more:,} {driver.where}: {driver.ms:.2f} ms of the driver's CPU and "
        f"{driver.kb:.2f} kB of its memory an input more, {ceiling}; ten million: {driver.many_hours:.1f} h of its "
        f"CPU, {driver.many_mb:,.0f} MB"
    )
