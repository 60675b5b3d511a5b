// The first page: how complete the job is, how far its rows can be believed, and why not.

import { Histogram, STATES, StateBar } from "./charts.jsx";
import { count, number, percent, seconds, short } from "./format.js";
import { taskLink } from "./route.js";

export function Overview({ overview }) {
  const { tasks, notices, problems, meanings } = overview;
  const states = Object.fromEntries(STATES.map((state) => [state, tasks.reduce((sum, task) => sum + task.rows.states[state], 0)]));
  const rows = tasks.reduce((sum, task) => sum + task.rows.rows, 0);
  return (
    <>
      <h1 class="sr-only">Overview of {overview.job}</h1>
      <Notices notices={notices} problems={problems} complete={rows > 0} />
      <section class="tiles" aria-label="Rows by state">
        <Tile title="rows" value={rows} all={rows} note={`of ${count(tasks.length, "task")} over ${count(overview.inputs.asked, "input")}`} />
        {STATES.map((state) => (
          <Tile key={state} title={state} value={states[state]} all={rows} state={state} note={meanings.states[state]} />
        ))}
      </section>
      {tasks.map((task) => (
        <TaskCard key={task.name} task={task} meanings={meanings} />
      ))}
      <footer class="muted">
        Written by sightread {overview.version} at {overview.made.replace("T", " ").slice(0, 19)} UTC. Figures are of all rows; of each task at most {number(overview.sample.rows)} are
        shown (seed {overview.sample.seed}), those in doubt and failed ones above all.
      </footer>
    </>
  );
}

export function Notices({ notices, problems, complete }) {
  if (!notices.length && !problems.length) return complete ? <p class="notice good">Every unit that was planned has its row.</p> : <p class="notice">There are no rows yet.</p>;
  return (
    <div class={`notice ${problems.length ? "bad" : "warn"}`} role="status">
      <strong>{problems.length ? "Something is broken." : "Not complete."}</strong>
      {[...notices, ...problems.map((problem) => `${problem}.`)].map((sentence) => (
        <p key={sentence}>{sentence}</p>
      ))}
    </div>
  );
}

function Tile({ title, value, all, state, note }) {
  return (
    <div class={`tile ${state ?? ""}`}>
      <span class="tile-title">{state && <span class={`dot ${state}`} />}{title}</span>
      <span class="tile-value">{number(value)}</span>
      {state && <span class="tile-share">{all ? percent(value / all) : ""}</span>}
      <span class="tile-note">{note}</span>
    </div>
  );
}

function TaskCard({ task, meanings }) {
  const { rows, audit, totals } = task;
  const odd = audit ? ["missing", "duplicate", "unexpected"].filter((key) => audit[key]) : [];
  return (
    <section class="card" aria-label={task.name}>
      <h2>
        <a href={taskLink(task.name)}>{task.name}</a>
        <span class="muted">{count(rows.rows, "row")}{task.shown < rows.rows ? `, ${number(task.shown)} shown` : ""}</span>
      </h2>
      <StateBar states={rows.states} />
      <p class="legend">
        {STATES.filter((state) => rows.states[state]).map((state) => (
          <a key={state} href={taskLink(task.name, { state })}>
            <span class={`dot ${state}`} />
            {number(rows.states[state])} {state}
          </a>
        ))}
      </p>
      <Reasons title="In doubt" task={task} filter="fault" counts={task.faults} sentence={(fault) => meanings.faults[fault]} />
      <Reasons title="Failed" task={task} filter="kind" counts={rows.failed} sentence={(kind) => task.messages[kind] && `as: ${task.messages[kind]}`} />
      <div class="histograms">
        {task.histograms.map((histogram) => (
          <Histogram key={histogram.name} {...histogram} />
        ))}
      </div>
      <dl class="facts">
        <Fact name="audit">
          {!audit
            ? "no run came to its end yet, so nothing was audited"
            : odd.length
              ? odd.map((key) => `${number(audit[key])} ${key}`).join(", ")
              : `${number(audit.rows)} of ${number(audit.planned)} planned rows, none missing, none twice`}
        </Fact>
        <Fact name="tokens">
          {short(totals.prompt_tokens)} read, {short(totals.output_tokens)} written{totals.reasoning_tokens > 0 ? `, ${short(totals.reasoning_tokens)} of them to think` : ""}
        </Fact>
        <Fact name="time">
          {seconds(totals.decode_s)} to decode, {seconds(totals.infer_s)} in the engine, summed over rows
        </Fact>
        {task.units.open > 0 && <Fact name="open">{count(task.units.open, "unit")} of {number(task.units.planned)} have no answer yet</Fact>}
        {task.units.unpublished > 0 && <Fact name="not published">{count(task.units.unpublished, "unit")}</Fact>}
        {(task.again.planned > 0 || task.retried_rows > 0) && (
          <Fact name="asked again">
            {count(task.again.planned, "unit")}{task.again.open ? `, ${number(task.again.open)} open` : ""}; {count(task.retried_rows, "row")} a later attempt answered
          </Fact>
        )}
        <Fact name="models">
          {Object.entries(task.models).map(([model, value]) => `${model || "(no name)"} (${number(value)})`).join(", ") || "none yet"}
        </Fact>
      </dl>
    </section>
  );
}

function Reasons({ title, task, filter, counts, sentence }) {
  const entries = Object.entries(counts).sort(([, one], [, other]) => other - one);
  if (!entries.length) return null;
  return (
    <ul class="reasons" aria-label={`${title}, by reason`}>
      {entries.map(([name, value]) => (
        <li key={name}>
          <a href={taskLink(task.name, { [filter]: name })}>
            <span class="reason-count">{number(value)}</span> <code>{name}</code>
          </a>
          <span class="muted">{sentence(name)}</span>
        </li>
      ))}
    </ul>
  );
}

export function Fact({ name, children }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
