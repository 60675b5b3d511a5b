// Two outputs against each other: units that differ, the worst first, both answers side by side.

import { useMemo, useState } from "preact/hooks";

import { count, number, percent } from "./format.js";
import { filtered, useLines } from "./gallery.jsx";
import { Guard } from "./guard.jsx";
import { List } from "./list.jsx";
import { marksOf } from "./marks.js";
import { changed, go } from "./route.js";
import { useDetail } from "./row.jsx";
import { Answer } from "./views/answer.jsx";
import { Picture } from "./views/picture.jsx";
import { Difference } from "./views/text.jsx";

export function DiffPage({ overview, task, route }) {
  const [lines, problem] = useLines(task);
  const here = { ...route, name: task.name };
  const q = route.query.get("q") ?? "";
  const shown = useMemo(() => filtered(lines, { q }), [lines, q]);
  const chosen = shown.findIndex((line) => line.id === route.query.get("row"));
  const open = shown[chosen];
  return (
    <div class={`gallery ${open ? "has-open" : ""}`}>
      <div class="side">
        <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
          <h1>{task.name}</h1>
          <p>
            {count(task.same, "unit")} alike, <strong>{number(task.differ)} differ</strong>
            {task.only_before > 0 && `, ${number(task.only_before)} only in the first`}
            {task.only_after > 0 && `, ${number(task.only_after)} only in the second`}
          </p>
          <input type="search" value={q} onInput={(event) => go(changed(here, { q: event.target.value, row: null }), { replace: true })} placeholder="Search" aria-label="Search in names and answers" />
          <p class="muted" role="status">{count(shown.length, "unit")}, the worst first</p>
        </form>
        {problem && <p class="notice bad" role="alert">{problem}</p>}
        <List lines={shown} chosen={chosen} link={(line) => changed(here, { row: line.id })} label="Units that differ" />
      </div>
      <div class="panel" tabIndex={0} role="region" aria-label="The unit that is open">
        {open ? <Pair key={open.id} line={open} sides={overview.diff} close={changed(here, { row: null })} /> : <p class="empty">{lines.length ? "Choose a unit." : "No unit differs."}</p>}
      </div>
    </div>
  );
}

function Pair({ line, sides, close }) {
  const { row, problem } = useDetail(line);
  return (
    <article class="row" aria-label={line.name}>
      <header class="row-head">
        <h2>
          {line.name} <span class="muted">{line.unit}</span>
        </h2>
        <div class="row-tools">
          <span class="muted">{percent(line.distance)} of it differs</span>
          <a class="button close" href={close} aria-label="Close the unit">×</a>
        </div>
      </header>
      {problem && <p class="notice bad" role="alert">{problem}</p>}
      {row && (
        <Guard fallback={<pre>{JSON.stringify(row, null, 1)}</pre>}>
          <Sides before={row} after={row.after} sides={sides} texts={row.texts} />
        </Guard>
      )}
    </article>
  );
}

function Sides({ before, after, sides, texts }) {
  return (
    <>
      {texts && (
        <section>
          <h3>Word by word</h3>
          <Difference before={texts[0]} after={texts[1]} names={["of the first alone", "of the second alone"]} />
        </section>
      )}
      <div class="two">
        <Side row={before} title={sides[0]} />
        <Side row={after} title={sides[1]} />
      </div>
    </>
  );
}

function Side({ row, title }) {
  const marks = useMemo(() => marksOf(row.result), [row]);
  const [active, setActive] = useState(null);
  const [picture] = row.pictures ?? [];
  return (
    <section class="answer">
      <h3 class="address">{title}</h3>
      <p class="muted">
        {row.state}
        {row.verified?.faults?.length ? `: ${row.verified.faults.join(", ")}` : ""}
        {row.error ? `: ${row.error.message}` : ""} · {row.model}
      </p>
      {picture && <Picture picture={picture} width={row.width_px} height={row.height_px} marks={marks.filter((mark) => mark.frame === (row.unit_kind === "clip" ? picture.index : 0))} active={active} setActive={setActive} label={title} />}
      <Answer row={row} marks={marks} active={active} setActive={setActive} />
    </section>
  );
}
