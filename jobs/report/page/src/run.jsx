// What the last run did: what held it back, what happened when, what it cost, and the rounds of the job.

import { useState } from "preact/hooks";

import { StageBars, Timeline, time } from "./charts.jsx";
import { count, number, percent, seconds, short, words } from "./format.js";
import { Fact, Notices } from "./overview.jsx";

const ADVICE = {
  engine: "the engine worked all the time: more or faster GPUs make it faster",
  "engine deaths": "the engine died and was started anew",
  requests: "so few requests that the last replies were waited for",
  Ray: "no stage was busy: chunks waited between them",
};

export function RunPage({ overview }) {
  const { run, rounds } = overview;
  const use = run.utilization;
  return (
    <>
      <h1>The last run</h1>
      <Notices notices={overview.notices} problems={overview.problems} complete={overview.tasks.some((task) => task.rows.rows)} />
      {use && (
        <section class="card">
          <h2>
            Bottleneck: {use.bottleneck} <span class="muted">{ADVICE[use.bottleneck]}</span>
          </h2>
          <p>
            {percent(use.utilization)} of the engine's slots in use, {short(use.tokens_per_s)} tokens a second, over {seconds(use.span_s)} from the first request on
            {use.deaths ? `; ${count(use.deaths, "engine")} died` : ""}.
          </p>
          <StageBars stages={use.stages} bottleneck={use.bottleneck} />
        </section>
      )}
      <Happened run={run} />
      <section class="card">
        <h2>Cost</h2>
        <Cost overview={overview} />
      </section>
      <section class="card">
        <h2>Rounds <span class="muted">what was asked for, and by whom</span></h2>
        <Rounds rounds={rounds} />
      </section>
    </>
  );
}

function Happened({ run }) {
  const begins = run.events.flatMap((event, index) => (event.kind === "run began" ? [index] : []));
  const [chosen, setChosen] = useState(Math.max(0, begins.length - 1));
  const events = begins.length ? run.events.slice(begins[chosen], begins[chosen + 1]) : run.events;
  if (!events.length) return null;
  return (
    <section class="card">
      <h2>
        What happened
        {begins.length > 1 && (
          <select aria-label="Run" value={chosen} onChange={(event) => setChosen(Number(event.target.value))}>
            {begins.map((place, index) => (
              <option key={place} value={index}>{run.events[place].at.replace("T", " ").slice(0, 19)} {run.events[place].what}</option>
            ))}
          </select>
        )}
      </h2>
      <Timeline events={events} commits={run.commits} />
      <details>
        <summary>{count(events.length, "event")}</summary>
        <div class="scroll" tabIndex={0} role="region" aria-label="Events">
          <table>
            <thead><tr><th scope="col">Time (UTC)</th><th scope="col">Event</th><th scope="col">About</th></tr></thead>
            <tbody>
              {events.map(({ at, kind, ...facts }, index) => (
                <tr key={index}>
                  <td class="nowrap">{Number.isNaN(Date.parse(at)) ? at : time(at)}</td>
                  <td class="nowrap">{kind}</td>
                  <td>{Object.entries(facts).map(([key, value]) => `${words(key)}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("; ")}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </section>
  );
}

function Cost({ overview }) {
  const { cost, summary } = overview.run;
  const sum = (key) => overview.tasks.reduce((total, task) => total + (task.totals[key] ?? 0), 0);
  const rows = overview.tasks.reduce((total, task) => total + task.rows.rows, 0);
  return (
    <dl class="facts">
      <Fact name="tokens">
        {number(sum("prompt_tokens"))} read and {number(sum("output_tokens"))} written for {count(rows, "row")}
        {rows > 0 && ` (${short(sum("prompt_tokens") / rows)} and ${short(sum("output_tokens") / rows)} a row)`}
      </Fact>
      <Fact name="engine">{seconds(sum("infer_s"))} in which requests were in it, summed over rows</Fact>
      <Fact name="decoding">{seconds(sum("decode_s"))} summed over rows</Fact>
      {cost && <Fact name="last run">{count(cost.engines, "engine")} for {seconds((3600 * cost.engine_hours) / cost.engines)}: {cost.engine_hours.toPrecision(3)} engine-hours</Fact>}
      {cost?.money !== null && cost && (
        <Fact name="money">
          ${cost.money.toPrecision(3)} at ${cost.price} an hour of an engine{cost.per_1000_rows !== null && `; $${cost.per_1000_rows.toPrecision(3)} per 1,000 rows`}
        </Fact>
      )}
      {cost?.money === null && <Fact name="money">not known: <code>sightread report --price</code> says what an hour of an engine costs</Fact>}
      {summary.wall_s > 0 && <Fact name="wall clock">{seconds(summary.wall_s)} of the last run that came to its end</Fact>}
    </dl>
  );
}

function Rounds({ rounds }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Rounds">
      <table>
        <thead>
          <tr>
            {["round", "kind", "began", "by", "tasks", "inputs", "units", "open", "rows", "about"].map((name) => (
              <th key={name} scope="col">{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rounds.map((round) => (
            <tr key={round.number}>
              <td>{round.number}</td>
              <td>{round.kind}</td>
              <td class="nowrap">{round.began.replace("T", " ").slice(0, 19)}</td>
              <td>{round.by}</td>
              <td>{round.tasks.join(", ")}</td>
              <td class="right">{number(round.inputs)}</td>
              <td class="right">{number(round.units.planned)}</td>
              <td class="right">{number(round.units.open)}</td>
              <td class="right">{number(round.rows.rows)}</td>
              <td>{Object.entries(round.about).map(([what, value]) => `${number(value)} ${what}`).join(", ")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
