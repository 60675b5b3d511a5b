// Rows of a task: a list with its search and filters, and the row that is open beside it.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { STATES } from "./charts.jsx";
import { load } from "./data.js";
import { count, number } from "./format.js";
import { isTyping } from "./keys.js";
import { List } from "./list.jsx";
import { FILTERS, changed, go, parse } from "./route.js";
import { Row } from "./row.jsx";

export function Gallery({ overview, task, route }) {
  const [lines, problem] = useLines(task);
  const filters = Object.fromEntries(FILTERS.map((key) => [key, route.query.get(key) ?? ""]));
  const shown = useMemo(() => filtered(lines, filters), [lines, ...Object.values(filters)]);
  const id = route.query.get("row");
  const chosen = id === null ? -1 : shown.findIndex((line) => line.id === id);
  const open = chosen >= 0 ? shown[chosen] : (lines.find((line) => line.id === id) ?? null);
  const search = useRef(null);
  const panel = useRef(null);
  useKeys({ shown, search });
  useEffect(() => panel.current?.scrollTo(0, 0), [id]);
  const link = (line) => changed(route, { row: line.id });
  return (
    <div class={`gallery ${open ? "has-open" : ""}`}>
      <div class="side">
        <h1 class="sr-only">Rows of {task.name}</h1>
        <Filters lines={lines} shown={shown} filters={filters} route={route} search={search} task={task} meanings={overview.meanings} />
        {problem && <p class="notice bad" role="alert">{problem}</p>}
        <List lines={shown} chosen={chosen} link={link} label={`Rows of ${task.name}`} />
      </div>
      <div class="panel" ref={panel} tabIndex={0} role="region" aria-label="The row that is open">
        {open ? (
          <Row key={open.id} line={open} overview={overview} route={route} next={shown[chosen + 1]} previous={shown[chosen - 1]} place={chosen < 0 ? null : `${number(chosen + 1)} of ${number(shown.length)}`} />
        ) : (
          <p class="empty">{lines.length ? "Choose a row: j or ↓ opens the first." : "There are no rows to show."}</p>
        )}
      </div>
    </div>
  );
}

/** All lines of a task, as they come; and why some do not. */
export function useLines(task) {
  const [lines, setLines] = useState([]);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    let here = true;
    const files = Array.from({ length: task.files }, (_, part) => load(`${task.rows_key}-${part}`));
    (async () => {
      const all = [];
      for (const file of files) {
        for (const line of await file) {
          line.haystack = `${line.name} ${line.unit ?? ""} ${line.begins ?? ""}`.toLowerCase();
          all.push(line);
        }
        if (here) setLines([...all]);
      }
    })().catch((error) => here && setProblem(error.message));
    return () => {
      here = false;
    };
  }, [task]);
  return [lines, problem];
}

export function filtered(lines, { state, fault, kind, model, input, q }) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  return lines.filter(
    (line) =>
      (!state || line.state === state) &&
      (!fault || line.faults?.includes(fault)) &&
      (!kind || line.kind === kind) &&
      (!model || line.model === model) &&
      (!input || line.name === input) &&
      words.every((word) => line.haystack.includes(word)),
  );
}

function useKeys({ shown, search }) {
  useEffect(() => {
    const pressed = (event) => {
      const route = parse(location.hash); // keys may come faster than the page is drawn
      const chosen = shown.findIndex((line) => line.id === route.query.get("row"));
      const open = (place) => shown[place] && go(changed(route, { row: shown[place].id }), { replace: true });
      if (event.key === "Escape" && event.target === search.current) search.current.blur();
      if (isTyping(event)) return;
      const inList = !event.target.closest?.(".panel, .scroll");
      if (event.key === "/") {
        event.preventDefault();
        search.current.focus();
      } else if (event.key === "j" || (event.key === "ArrowDown" && inList)) {
        event.preventDefault();
        open(chosen + 1);
      } else if (event.key === "k" || (event.key === "ArrowUp" && inList)) {
        event.preventDefault();
        open(Math.max(0, chosen - 1));
      } else if (event.key === "n") {
        open(shown.findIndex((line, place) => place > chosen && (line.state === "doubtful" || line.state === "failed")));
      } else if (event.key === "Escape" && route.query.get("row")) {
        go(changed(route, { row: null }));
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
}

function Filters({ lines, shown, filters, route, search, task, meanings }) {
  const set = (values) => go(changed(route, { ...values, row: null }), { replace: true });
  const [states, faults, kinds, models] = useMemo(
    () => [
      tally(lines.map((line) => line.state)),
      tally(lines.flatMap((line) => (line.state === "doubtful" ? (line.faults ?? []) : []))),
      tally(lines.map((line) => line.kind).filter(Boolean)),
      tally(lines.map((line) => line.model).filter(Boolean)),
    ],
    [lines],
  );
  return (
    <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
      <input ref={search} type="search" value={filters.q} onInput={(event) => set({ q: event.target.value })} placeholder="Search names and answers  /" aria-label="Search in the names of inputs and the beginnings of answers" />
      <div class="chips" role="group" aria-label="State">
        {STATES.filter((state) => states.has(state)).map((state) => (
          <button key={state} type="button" class={`chip ${state}`} aria-pressed={filters.state === state} title={meanings.states[state]} onClick={() => set({ state: filters.state === state ? null : state })}>
            <span class={`dot ${state}`} />
            {state} <span class="badge">{number(states.get(state))}</span>
          </button>
        ))}
      </div>
      <div class="selects">
        <Choice name="fault" title="Any fault" values={faults} filters={filters} set={set} meaning={meanings.faults} />
        <Choice name="kind" title="Any failure" values={kinds} filters={filters} set={set} meaning={{}} />
        {models.size > 1 && <Choice name="model" title="Any model" values={models} filters={filters} set={set} meaning={{}} />}
        {filters.input && (
          <button type="button" class="chip" aria-pressed="true" onClick={() => set({ input: null })}>
            {filters.input} ×
          </button>
        )}
      </div>
      <p class="muted" role="status">
        {count(shown.length, "row")}
        {lines.length < task.rows.rows && ` of ${number(lines.length)} shown here, of ${number(task.rows.rows)} in all`}
      </p>
    </form>
  );
}

function Choice({ name, title, values, filters, set, meaning }) {
  if (!values.size && !filters[name]) return null;
  return (
    <select aria-label={title} value={filters[name]} onChange={(event) => set({ [name]: event.target.value || null })}>
      <option value="">{title}</option>
      {[...values].sort(([, one], [, other]) => other - one).map(([value, rows]) => (
        <option key={value} value={value} title={meaning[value]}>
          {value} ({number(rows)})
        </option>
      ))}
    </select>
  );
}

function tally(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}
