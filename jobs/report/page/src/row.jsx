// One row, all of it: what the model said beside what it saw, and on demand how it came to that.

import { useEffect, useMemo, useState } from "preact/hooks";

import { load } from "./data.js";
import { count, number, percent, seconds } from "./format.js";
import { Guard } from "./guard.jsx";
import { marksOf } from "./marks.js";
import { changed, taskLink } from "./route.js";
import { Answer } from "./views/answer.jsx";
import { Attempts } from "./views/attempts.jsx";
import { Screen } from "./views/screen.jsx";

export function useDetail(line) {
  const [state, setState] = useState({ row: null, problem: "" });
  useEffect(() => {
    let here = true;
    load(line.detail).then(
      (rows) => here && setState({ row: rows.find((row) => idOf(row) === line.id), problem: "" }),
      (error) => here && setState({ row: null, problem: error.message }),
    );
    return () => {
      here = false;
    };
  }, [line.detail, line.id]);
  return state;
}

const idOf = (row) => `${row.input_id}-${row.unit_index}-${row.request_index}`;

export function Row({ line, overview, route, next, previous, place }) {
  const { row, problem } = useDetail(line);
  return (
    <article class="row" aria-label={`${line.name} ${line.unit ?? ""}`}>
      <header class="row-head">
        <div>
          <h2>
            <span class={`dot ${line.state}`} /> {line.name} <span class="muted">{line.unit}</span>
          </h2>
          {row && <p class="address muted">{row.input_uri}</p>}
        </div>
        <div class="row-tools">
          {place && <span class="muted nowrap">{place}</span>}
          {previous && <a class="button" href={changed(route, { row: previous.id })} aria-label="Previous row" title="k">↑</a>}
          {next && <a class="button" href={changed(route, { row: next.id })} aria-label="Next row" title="j">↓</a>}
          <a class="button" href={taskLink(route.name, { input: line.name, row: line.id })} title="All rows of this input">same input</a>
          <a class="button close" href={changed(route, { row: null })} aria-label="Close the row" title="Escape">×</a>
        </div>
      </header>
      {problem && <p class="notice bad" role="alert">{problem}</p>}
      {!row && !problem && <p class="loading" role="status">Loading…</p>}
      {row && (
        <Guard fallback={<Plain row={row} />}>
          <Body row={row} line={line} overview={overview} />
        </Guard>
      )}
    </article>
  );
}

function Plain({ row }) {
  return (
    <>
      <p class="notice warn">This row has another form than its task usually gives; here it is as it is.</p>
      <pre>{JSON.stringify(row, null, 1)}</pre>
    </>
  );
}

function Body({ row, line, overview }) {
  const marks = useMemo(() => marksOf(row.result), [row]);
  const [active, setActive] = useState(null);
  const shown = { row, marks, active, setActive, name: line.name };
  return (
    <>
      <Verdict row={row} state={line.state} meanings={overview.meanings} />
      <div class={`sides ${row.pictures.length || row.missing ? "" : "alone"}`}>
        {(row.pictures.length > 0 || row.missing) && <Screen {...shown} />}
        <div class="answer">
          <Answer {...shown} />
        </div>
      </div>
      <Reasoning row={row} />
      {row.attempts?.length > 0 && <Attempts row={row} />}
      <Fold title="Prompt">
        <Prompt row={row} prompts={overview.prompts} />
      </Fold>
      {row.text && <Fold title="Raw reply" note={count(row.text.length, "character")}><pre>{row.text}</pre></Fold>}
      {row.text_layer && <Fold title="The PDF's own text" note={count(row.text_layer.length, "character")}><pre>{row.text_layer}</pre></Fold>}
      {row.result && <Fold title="Result as JSON"><pre>{JSON.stringify(row.result, null, 1)}</pre></Fold>}
      <Fold title="Provenance and figures">
        <Provenance row={row} />
      </Fold>
    </>
  );
}

/** How far the row can be believed, and why. */
function Verdict({ row, state, meanings }) {
  const { verified, error } = row;
  const check = verified?.code_check;
  const notes = (row.input_notes ?? []).filter((note) => !verified?.faults?.includes(note));
  const figures = [
    verified?.cer !== undefined && verified?.cer !== null && `${percent(verified.cer)} errors per character against the PDF's own text`,
    verified?.missing_words > 0 && `${count(verified.missing_words, "word")} of it missing`,
    verified?.extra_words > 0 && `${count(verified.extra_words, "word")} beyond it`,
    verified?.dropped > 0 && `${count(verified.dropped, "piece")} of the reply could not be read`,
    check && `its code: ${check.outcome}${check.score !== null && check.score !== undefined ? `, looks ${percent(check.score)} like its input` : ""}${check.message ? ` (${check.message})` : ""}`,
    row.damaged_frames > 0 && `${count(row.damaged_frames, "damaged frame")}`,
  ].filter(Boolean);
  return (
    <div class={`verdict ${state}`}>
      <p>
        <strong>{state}</strong> {error ? `${error.kind} while it was ${STAGES[error.stage] ?? error.stage}, after ${count(error.attempts ?? 1, "attempt")}: ${error.message}` : meanings.states[state]}
      </p>
      {verified?.faults?.length > 0 && (
        <ul>
          {verified.faults.map((fault) => (
            <li key={fault}>
              <code>{fault}</code> {meanings.faults[fault]}
            </li>
          ))}
        </ul>
      )}
      {figures.length > 0 && <p>{figures.join("; ")}.</p>}
      {notes.map((note) => (
        <p key={note}>
          About the file: <code>{note}</code> {meanings.notes[note]}
        </p>
      ))}
      {check && <Lists check={check} />}
    </div>
  );
}

const STAGES = { probe: "looked into", decode: "decoded", infer: "asked about", parse: "read" };

function Lists({ check }) {
  return ["errors", "refused", "imports", "unresolved"]
    .filter((key) => check[key]?.length)
    .map((key) => (
      <p key={key}>
        {key}: {check[key].join("; ")}
      </p>
    ));
}

export function Fold({ title, note, children }) {
  return (
    <details class="fold">
      <summary>
        {title} {note && <span class="muted">{note}</span>}
      </summary>
      {children}
    </details>
  );
}

function Reasoning({ row }) {
  const text = row.reasoning ?? row.result?.thinking;
  if (!text) return null;
  return (
    <Fold title="Reasoning" note={row.reasoning_tokens ? count(row.reasoning_tokens, "token") : count(text.length, "character")}>
      <p class="prose">{text}</p>
    </Fold>
  );
}

function Prompt({ row, prompts }) {
  const known = prompts[row.prompt_sha256];
  const parameters = values(row.parameters);
  const template = known && (known.prompts[row.unit_kind] ?? known.prompt);
  return (
    <>
      {template ? <pre class="prompt">{filled(template, parameters)}</pre> : <p class="muted">The job does not say it any more (its hash is {row.prompt_sha256 || "not known"}).</p>}
      {Object.keys(parameters).length > 0 && <Table entries={Object.entries(parameters)} />}
    </>
  );
}

function values(parameters) {
  try {
    return JSON.parse(parameters ?? "{}") ?? {};
  } catch {
    return { parameters };
  }
}

/** As schemas/task.py fills it in. */
function filled(template, parameters) {
  return template.replace(/\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}/g, (place, plain, name) => {
    if (plain) return `{${plain}}`;
    const value = parameters[name];
    return value === undefined ? place : Array.isArray(value) ? value.join(", ") : String(value);
  });
}

const FIGURES = ["finish_reason", "prompt_tokens", "output_tokens", "reasoning_tokens", "decode_s", "infer_s"];
const SHOWN_ELSEWHERE = new Set(["pictures", "missing", "screenshot", "result", "text", "text_layer", "reasoning", "attempts", "verified", "error", "parameters", "input_notes", "times_s", ...FIGURES]);

function Provenance({ row }) {
  const figures = FIGURES.filter((key) => row[key] !== undefined).map((key) => [key, key.endsWith("_s") ? seconds(row[key]) : typeof row[key] === "number" ? number(row[key]) : row[key]]);
  return <Table entries={[...figures, ...Object.entries(row).filter(([key]) => !SHOWN_ELSEWHERE.has(key))]} />;
}

function Table({ entries }) {
  return (
    <table class="pairs">
      <tbody>
        {entries.map(([key, value]) => (
          <tr key={key}>
            <th scope="row">{key}</th>
            <td>{typeof value === "string" ? value : JSON.stringify(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
