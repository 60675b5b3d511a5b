// Spans of time: on a bar, and as a list.

import { clock, seconds } from "../format.js";

/** All {start_s, end_s} of a result, each with what it says. */
export function spansOf(value, spans = []) {
  if (Array.isArray(value)) {
    for (const entry of value) spansOf(entry, spans);
  } else if (value && typeof value === "object") {
    if (typeof value.start_s === "number" && typeof value.end_s === "number") spans.push({ number: spans.length + 1, start: value.start_s, end: value.end_s, text: value.text ?? "", source: value });
    else for (const entry of Object.values(value)) spansOf(entry, spans);
  }
  return spans;
}

/** at: the time of the frame that is seen. onPick: told a time. */
export function TimeBar({ row, spans, at, onPick }) {
  const begin = Math.min(row.start_s, ...spans.map((span) => span.start));
  const end = Math.max(row.end_s, ...spans.map((span) => span.end));
  const left = (time) => `${(100 * (time - begin)) / (end - begin)}%`;
  const lanes = lanesOf(spans);
  return (
    <div class="time-bar">
      <div class="time-track" style={{ height: `${Math.max(1, lanes.count) * 1.5}rem` }} onClick={(event) => onPick(begin + ((end - begin) * event.offsetX) / event.currentTarget.clientWidth)}>
        {(begin < row.start_s || end > row.end_s) && <span class="time-clip" style={{ left: left(row.start_s), width: `calc(${left(row.end_s)} - ${left(row.start_s)})` }} title={`the clip: ${clock(row.start_s)} to ${clock(row.end_s)}`} />}
        {spans.map((span, index) => (
          <button key={span.number} type="button" class={`time-span mark-${index % 8}`} style={{ left: left(span.start), width: `max(0.5rem, calc(${left(span.end)} - ${left(span.start)}))`, top: `${lanes.of[index] * 1.5}rem` }} title={`${clock(span.start)} to ${clock(span.end)} ${span.text}`} onClick={(event) => (event.stopPropagation(), onPick(span.start))}>
            {span.number}
          </button>
        ))}
        {at !== undefined && at !== null && <span class="time-now" style={{ left: left(at) }} />}
      </div>
      <div class="time-ends muted">
        <span>{clock(begin)}</span>
        <span>{clock(end)}</span>
      </div>
    </div>
  );
}

/** Spans that overlap are drawn beneath each other. */
function lanesOf(spans) {
  const ends = [];
  const of = spans.map((span) => {
    const free = ends.findIndex((end) => end <= span.start);
    const lane = free < 0 ? ends.length : free;
    ends[lane] = Math.max(span.end, span.start);
    return lane;
  });
  return { of, count: ends.length };
}

export function SpanList({ spans }) {
  return (
    <ol class="span-list">
      {spans.map((span, index) => (
        <li key={span.number} class={`place mark-${index % 8}`}>
          <span class="number" aria-hidden="true">{span.number}</span>
          <span class="muted nowrap">
            {clock(span.start)} – {clock(span.end)} ({seconds(Math.max(0, span.end - span.start))})
          </span>{" "}
          {span.text}
        </li>
      ))}
    </ol>
  );
}
