// The answer of a row by its form, not by its task: text, lines, blocks, places, spans, actions, code, and whatever else
// a task of one's own gives.

import { words } from "../format.js";
import { bySource } from "../marks.js";
import { Blocks } from "./blocks.jsx";
import { Place } from "./picture.jsx";
import { SpanList, spansOf } from "./spans.jsx";
import { Text } from "./text.jsx";
import { Value } from "./value.jsx";

export function Answer({ row, marks, active, setActive }) {
  const { result } = row;
  if (!result) return row.text ? <><h3>The reply, which could not be read</h3><pre>{row.text}</pre></> : <p class="muted">There is no answer.</p>;
  const known = bySource(marks);
  const linked = { known, active, setActive };
  const spans = spansOf(result);
  const rest = { ...result };
  const parts = [];
  const take = (key) => {
    const value = rest[key];
    delete rest[key];
    return value;
  };
  take("thinking"); // folded away below
  if (Array.isArray(rest.blocks)) {
    const markdown = take("markdown");
    parts.push(<Text key="blocks" text={plainOf(rest.blocks)} layer={row.text_layer} raw={markdown}><Blocks blocks={take("blocks")} {...linked} /></Text>);
  } else if (Array.isArray(rest.lines) && rest.lines.length) {
    const text = take("text");
    parts.push(<Text key="lines" text={text} layer={row.text_layer}><Lines lines={take("lines")} {...linked} /></Text>);
  } else if (typeof rest.text === "string") {
    parts.push(<Text key="text" text={take("text")} layer={row.text_layer} />);
  }
  if (typeof rest.code === "string") parts.push(<pre key="code" class="code" tabIndex={0}>{take("code")}</pre>);
  for (const key of ["summary", "setting", "answer", "short_answer", "solution"]) {
    if (typeof rest[key] === "string") parts.push(<Named key={key} name={words(key)}><p class="prose">{take(key)}</p></Named>);
  }
  if (Array.isArray(rest.steps)) parts.push(<Steps key="steps" steps={take("steps")} {...linked} />);
  if (typeof rest.action === "string") {
    parts.push(<Action key="action" action={{ ...rest }} mark={known.get(result)} {...linked} />);
    for (const name of Object.keys(rest)) delete rest[name];
  }
  if (spans.length) {
    parts.push(<SpanList key="spans" spans={spans} />);
    for (const key of ["events", "spans", "start_s", "end_s"]) take(key);
  }
  for (const key of ["objects", "boxes", "elements"]) {
    if (Array.isArray(rest[key]) && rest[key].every((entry) => entry && typeof entry === "object")) {
      parts.push(<Things key={key} name={key} things={take(key)} {...linked} />);
    }
  }
  for (const key of ["lines", "script"]) if (rest[key] === null) take(key);
  return (
    <>
      {parts}
      {Object.keys(rest).length > 0 && <Value value={rest} {...linked} />}
    </>
  );
}

function Named({ name, children }) {
  return (
    <section class="named">
      <h3>{name}</h3>
      {children}
    </section>
  );
}

function Lines({ lines, known, active, setActive }) {
  return (
    <ol class="lines">
      {lines.map((line, index) => (
        <Place key={index} as="li" mark={known.get(line)} active={active} setActive={setActive}>
          {line.text}
        </Place>
      ))}
    </ol>
  );
}

const NOT_SAID = new Set(["bbox_px", "point_px", "corners_px", "label", "names", "name", "role", "attributes", "frame_index"]);

/** Things with places: what each is called, and what else is said of it. */
function Things({ name, things, known, active, setActive }) {
  if (!things.length) return <p class="muted">No {name}: an empty list, which is an answer.</p>;
  return (
    <ol class="things" aria-label={name}>
      {things.map((thing, index) => (
        <Place key={index} as="li" mark={known.get(thing)} active={active} setActive={setActive}>
          <strong>{nameOf(thing)}</strong> {said(thing)}
        </Place>
      ))}
    </ol>
  );
}

const nameOf = (thing) => thing.label ?? thing.names?.map((entry) => entry.name).join(" · ") ?? thing.name ?? thing.role;

function said(thing) {
  const attributes = (thing.attributes ?? []).map(({ name, value }) => `${name} ${value}`);
  const others = Object.entries(thing)
    .filter(([key, value]) => !NOT_SAID.has(key) && value !== null)
    .map(([key, value]) => (key === "text" ? String(value) : `${key.replaceAll("_", " ")} ${rounded(value)}`));
  return <span class="muted">{[...others, ...attributes].join("; ")}</span>;
}

function rounded(value) {
  if (Array.isArray(value)) return value.map(rounded).join(" ");
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
}

function Steps({ steps, ...linked }) {
  return (
    <ol class="steps">
      {steps.map((step) => (
        <li key={step.step}>
          <h3>Screen {step.step}</h3>
          {step.action ? <Action action={step.action} mark={linked.known.get(step.action)} {...linked} /> : <p class="muted">No action: {step.fault}</p>}
        </li>
      ))}
    </ol>
  );
}

function Action({ action, mark, active, setActive }) {
  const { tool, action: name, description, thought, point_px: point, end_point_px: end, keys, ...others } = action;
  const facts = [point && `at ${rounded(point)}`, end && `to ${rounded(end)}`, keys && keys.join(" + "), ...Object.entries(others).filter(([, value]) => value !== null).map(([key, value]) => `${key.replaceAll("_", " ")} ${rounded(value)}`)];
  return (
    <Place mark={mark} active={active} setActive={setActive} class="action">
      <strong>{name.replaceAll("_", " ")}</strong> {facts.filter(Boolean).join("; ")} <span class="muted">{tool}</span>
      {description && <p>{description}</p>}
      {thought && <p class="muted">{thought}</p>}
    </Place>
  );
}

const plainOf = (blocks) => blocks.map((block) => [block.text, block.caption].filter(Boolean).join("\n")).filter(Boolean).join("\n");
