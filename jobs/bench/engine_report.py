"""What `sightread bench engine` measured, as tables and as JSON; a dash where nothing is yet. Measures nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.bench.engine_rounds import Measured, Result, Spread, hardware, ratio

_LEGEND = (
    "ours: how many times as long the peer takes for the same, the median of the rounds (least - most), each beside "
    "ours of the same round. decode: of all rows at once. pages/s: of the whole, from the first request to the last "
    "reply. $/M pages: at ${price:g} an hour of the device. peak: what the process held at most, weights and all. "
    "same: of the first 16 tokens to one page, greedily, those before the first that is not ours."
)


def show(done: list[Measured], price: float, console: Console) -> None:
    """Nothing of what has no round yet."""
    begun = [measured for measured in done if measured.results and any(measured.results[0].rounds)]
    for measured in begun:
        console.print(_peers(measured, price))
        console.print(_legs(measured))
    if begun:
        console.print(_LEGEND.format(price=price), highlight=False)


def _peers(measured: Measured, price: float) -> Table:
    table = Table(title=_title(measured), title_justify="left", show_edge=False)
    for column in ("engine", "dtype", "rounds"):
        table.add_column(column)
    for column in ("prefill tok/s", "ours", "decode tok/s", "ours", "pages/s", "ours", "$/M pages", "peak MB", "same"):
        table.add_column(column, justify="right")
    for result in measured.results:
        if not any(result.rounds):
            continue
        ours = measured.results[0]
        faster = [
            _spread(None if result is ours else ratio(result, ours, key, rows), ".2f")
            for key, rows in (("prefill_s", ""), ("step_s", "step_rows"), ("whole_s", ""))
        ]
        figures = rates(measured, result, price)
        table.add_row(
            result.name if result is ours else result.version,
            result.dtype,
            str(sum(bool(figures) for figures in result.rounds)),
            _number(figures["prefill_tokens_per_s"], ".0f"),
            faster[0],
            _number(figures["decode_tokens_per_s"], ".1f"),
            faster[1],
            _number(figures["pages_per_s"], ".3g"),
            faster[2],
            _number(figures["dollars_per_million_pages"], ",.0f"),
            f"{result.peak_mb:.0f}",
            f"{100 * result.same:.0f} %",
        )
    return table


def _title(measured: Measured) -> str:
    setting, prompts = measured.setting, measured.prompts
    cut = f", {setting.text_layers} text layers" if setting.text_layers else ""
    cut += f", {setting.vision_blocks} vision blocks" if setting.vision_blocks else ""
    lengths = sorted(prompt.tokens for prompt in prompts)
    sampling = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in setting.sampling.items())
    answers = f"answers of {min(measured.answers)} to {max(measured.answers)} tokens"
    return (
        f"{hardware(setting.device)}: {setting.shape} shape{cut}; {len(prompts)} pages of {len(set(lengths))} sizes "
        f"({lengths[0]} to {lengths[-1]} tokens), {answers}, {sampling or 'greedy'}"
    )


def rates(measured: Measured, result: Result, price: float) -> dict[str, float | None]:
    """Of the medians."""
    prefill_s, step_s, whole_s = (result.median(key) for key in ("prefill_s", "step_s", "whole_s"))
    rows = result.median("step_rows")
    pages_per_s = len(measured.prompts) / whole_s if whole_s else None
    return {
        "prefill_tokens_per_s": measured.prompt_tokens / prefill_s if prefill_s else None,
        "decode_tokens_per_s": rows / step_s if rows and step_s else None,
        "pages_per_s": pages_per_s,
        "dollars_per_million_pages": price * 1e6 / 3600 / pages_per_s if pages_per_s else None,
    }


def legs(measured: Measured) -> list[dict[str, Any]]:
    """What ours does, each with the seconds that the device must take for it at least, and the share that this is of
    those it takes. Of the whole, what its legs add up to stands for these."""
    ours, ceilings, steps = measured.results[0], measured.ceilings, measured.setting.steps
    assert ceilings is not None
    lengths = [prompt.tokens for prompt in measured.prompts]
    flops = measured.work.prefill_flops([(prompt.tokens, prompt.patches) for prompt in measured.prompts])
    middle = sorted(lengths)[len(lengths) // 2]
    step_bytes = [
        measured.work.step_bytes([length + 0.5 * steps for length in lengths]),
        measured.work.step_bytes([middle + 1.5 * steps]),
        measured.work.step_bytes([length + 1.5 * steps for length in lengths]),
    ]
    what = [
        ("prefill, each size for the first time", "first_prefill_s", sum(lengths), flops / ceilings.matrix_flops),
        ("prefill", "prefill_s", sum(lengths), flops / ceilings.matrix_flops),
        (f"step of {len(lengths)} rows", "step_s", len(lengths), step_bytes[0] / ceilings.bandwidth),
        (f"step of one row of {middle} tokens", "one_step_s", 1, step_bytes[1] / ceilings.bandwidth),
        (f"step of {len(lengths)} rows, greedy", "greedy_step_s", len(lengths), step_bytes[2] / ceilings.bandwidth),
        ("the whole, of what its legs add up to", "whole_s", sum(measured.answers), measured.legs_s()),
    ]
    rows = []
    for name, key, tokens, least_s in what:
        spread = Spread.of(ours.values(key))
        if spread is None:
            continue
        share = least_s / spread.median if least_s is not None else None
        rows.append({"leg": name, **asdict(spread), "tokens": tokens, "least_s": least_s, "share": share})
    return rows


def preset_cost(measured: Measured) -> Spread | None:
    """Of a step by the preset, what greedy choice does not take: a share, of each round."""
    rounds = measured.results[0].rounds if measured.results else []
    return Spread.of([1 - figures["greedy_step_s"] / figures["step_s"] for figures in rounds if "step_s" in figures])


def _legs(measured: Measured) -> Table:
    ceilings = measured.ceilings
    assert ceilings is not None
    cost = preset_cost(measured)
    sampling = f"; of a step, sampling costs {_spread(cost, '.1%')}" if cost and measured.setting.sampling else ""
    start_s = measured.results[0].start_s
    table = Table(
        title=f"sightread, {measured.results[0].dtype}: {ceilings.matrix_flops / 1e12:.3g} TFLOP/s and "
        f"{ceilings.bandwidth / 1e9:.3g} GB/s measured here; loaded and warm after {start_s:.0f} s{sampling}",
        title_justify="left",
        show_edge=False,
    )
    for column in ("leg", "ms (least - most)", "tok/s", "at least, ms", "share"):
        table.add_column(column, justify="left" if column == "leg" else "right")
    for row in legs(measured):
        shown = Spread(1e3 * row["median"], 1e3 * row["least"], 1e3 * row["most"], row["count"])
        least_ms = None if row["least_s"] is None else 1e3 * row["least_s"]
        table.add_row(
            row["leg"],
            _spread(shown, ".4g"),
            _number(row["tokens"] / row["median"], ".4g"),
            _number(least_ms, ".4g"),
            _number(row["share"], ".0%"),
        )
    return table


def as_json(done: list[Measured], price: float) -> dict[str, Any]:
    """All figures of every round, and what the tables make of them."""
    return {
        "bench": "engine",
        "price": price,
        "measured": [_measured_json(measured, price) for measured in done],
    }


def _measured_json(measured: Measured, price: float) -> dict[str, Any]:
    ours = measured.results[0] if measured.results else None
    whole, cost = measured.legs_s(), preset_cost(measured)
    return {
        "hardware": hardware(measured.setting.device),
        "setting": asdict(measured.setting),
        "prompt_tokens": [prompt.tokens for prompt in measured.prompts],
        "answers": measured.answers,
        "ceilings": asdict(measured.ceilings) if measured.ceilings else None,
        "legs": legs(measured) if ours and measured.ceilings else [],
        "legs_add_up_to_s": whole,
        "preset_costs": asdict(cost) if cost else None,
        "engines": [
            {
                **asdict(result),
                **rates(measured, result, price),
                "ours": {
                    name: asdict(spread)
                    for name, key, rows in (
                        ("prefill", "prefill_s", ""),
                        ("decode", "step_s", "step_rows"),
                        ("whole", "whole_s", ""),
                    )
                    if result is not ours and ours and (spread := ratio(result, ours, key, rows))
                },
            }
            for result in measured.results
        ],
    }


def _spread(spread: Spread | None, form: str) -> str:
    if spread is None:
        return ""
    if spread.count == 1:
        return format(spread.median, form)
    return f"{spread.median:{form}} ({spread.least:{form}} - {spread.most:{form}})"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
