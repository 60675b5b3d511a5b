// Drawings of numbers, of plain elements: they print, take the colors of the page, and a screen reader has their words.

import { count, number, percent, seconds, short, words } from "./format.js";

export const STATES = ["ok", "unsure", "doubtful", "failed"];

/** Rows by state as one bar. @param {{states: Record<string, number>}} props */
export function StateBar({ states }) {
  const all = STATES.reduce((sum, state) => sum + (states[state] ?? 0), 0);
  const label = STATES.filter((state) => states[state]).map((state) => `${number(states[state])} ${state}`).join(", ");
  return (
    <div class="state-bar" role="img" aria-label={label || "no rows"}>
      {STATES.filter((state) => states[state]).map((state) => (
        <span key={state} class={`fill ${state}`} style={{ flexGrow: Math.max(states[state] / all, 0.004) }} title={`${number(states[state])} ${state}`} />
      ))}
    </div>
  );
}

const UNITS = { cer: percent, infer_s: seconds, decode_s: seconds };
const TITLES = {
  cer: "Errors per character (CER)",
  output_tokens: "Output tokens",
  prompt_tokens: "Prompt tokens",
  infer_s: "Time in the engine",
  decode_s: "Time to decode",
};

/** How many rows have which value; bounds are the upper ones of the bins, null for what is beyond all. */
export function Histogram({ name, bounds, counts }) {
  const shown = UNITS[name] ?? short;
  const most = Math.max(...counts);
  const all = counts.reduce((sum, value) => sum + value, 0);
  const label = (index) => (bounds[index] === null ? "more" : bounds[index] === 0 ? "0" : `≤ ${shown(bounds[index])}`);
  const middle = counts.findIndex((_, index) => counts.slice(0, index + 1).reduce((sum, value) => sum + value, 0) >= all / 2);
  const every = Math.ceil(counts.length / 6);
  return (
    <figure class="histogram">
      <figcaption>{TITLES[name] ?? words(name)}</figcaption>
      <div class="bars" role="img" aria-label={`${TITLES[name] ?? name} of ${count(all, "row")}; half of them ${label(middle)}`}>
        {counts.map((value, index) => (
          <span key={index} class="bin" title={`${label(index)}: ${count(value, "row")}`}>
            <span class="bar" style={{ height: `${(100 * value) / most}%` }} />
            <span class="tick">{index % every === 0 ? label(index).replace("≤ ", "") : ""}</span>
          </span>
        ))}
      </div>
    </figure>
  );
}

/** How busy each stage of a run was. */
export function StageBars({ stages, bottleneck }) {
  return (
    <table class="stages">
      <thead>
        <tr>
          <th scope="col">Stage</th>
          <th scope="col" class="wide">Busy</th>
          <th scope="col" class="right">Workers</th>
          <th scope="col" class="right">Busy time</th>
        </tr>
      </thead>
      <tbody>
        {stages.map((stage) => (
          <tr key={stage.stage} class={stage.stage === bottleneck ? "bottleneck" : ""}>
            <th scope="row">{stage.stage}</th>
            <td class="wide">
              <span class="meter">
                <span class="meter-fill" style={{ width: percent(stage.share).replace(" ", "") }} />
              </span>
              <span class="meter-label">{percent(stage.share)}</span>
            </td>
            <td class="right">{number(stage.workers)}</td>
            <td class="right">{seconds(stage.busy_s)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const LANES = {
  run: ["run began", "lease taken over", "listed", "inputs differ", "planned", "starting", "code checked", "published", "told to end", "ended early", "ended", "remark"],
  engine: ["engine answers", "engine died", "no engine"],
  failures: ["rows failed", "not committed", "all failed"],
  "stores waited for": ["store asked again", "waiting for an input", "store refused", "store lost"],
};
const BAD = new Set(["engine died", "no engine", "rows failed", "not committed", "all failed", "store refused", "store lost", "ended early", "told to end"]);

/** What happened when: events in lanes, and how many parts were committed. */
export function Timeline({ events, commits }) {
  const times = events.map((event) => Date.parse(event.at)).filter((time) => !Number.isNaN(time));
  if (!times.length) return null;
  const begin = Math.min(...times);
  let end = Math.max(...times, begin + 1000);
  const parts = (commits?.parts ?? [])
    .map((value, index) => ({ value, at: 1000 * (commits.began_s + index * commits.step_s) }))
    .filter(({ at, value }) => value && at >= begin - 1000 * commits.step_s && at <= end + 5000);
  for (const { at } of parts) end = Math.max(end, at + 1000 * commits.step_s);
  const left = (time) => `${Math.min(100, Math.max(0, (100 * (time - begin)) / (end - begin)))}%`;
  const most = Math.max(...parts.map(({ value }) => value), 1);
  return (
    <div class="timeline">
      {parts.length > 0 && (
        <div class="lane tall">
          <span class="lane-name">parts committed</span>
          <div class="lane-track">
            {parts.map(({ value, at }) => (
              <span key={at} class="lane-bar" title={`${count(value, "part")} at ${time(at)}`} style={{ left: left(at), width: `${Math.max(0.4, (100000 * commits.step_s) / (end - begin))}%`, height: `${(100 * value) / most}%` }} />
            ))}
          </div>
        </div>
      )}
      {Object.entries(LANES).map(([name, kinds]) => {
        const some = events.filter((event) => kinds.includes(event.kind));
        return (
          some.length > 0 && (
            <div key={name} class="lane">
              <span class="lane-name">{name}</span>
              <div class="lane-track">
                {some.map((event, index) => (
                  <span key={index} class={`event ${BAD.has(event.kind) ? "bad" : ""}`} style={{ left: left(Date.parse(event.at)) }} title={`${time(event.at)} ${event.kind}${event.times > 1 ? ` × ${event.times}` : ""}`} />
                ))}
              </div>
            </div>
          )
        );
      })}
      <div class="lane axis">
        <span class="lane-name" />
        <div class="lane-track">
          <span>{time(begin)}</span>
          <span>{seconds((end - begin) / 1000)}</span>
          <span>{time(end)}</span>
        </div>
      </div>
    </div>
  );
}

export const time = (at) => new Date(at).toISOString().slice(11, 19);
