// What was read, alone or against the text that the PDF itself holds.

import { diffWords } from "diff";
import { useMemo, useState } from "preact/hooks";

const LONGEST_MS = 1500; // for a difference; two texts that have little in common would take minutes

/** children: the text in another form, with places. raw: its Markdown. */
export function Text({ text, layer, raw, children }) {
  const views = [
    ["read", children ? "as it was read" : "text"],
    ...(layer ? [["layer", "against the PDF's own text"]] : []),
    ...(children && text ? [["plain", "plain"]] : []),
    ...(raw ? [["markdown", "Markdown"]] : []),
  ];
  const [view, setView] = useState("read");
  return (
    <section class="text">
      {views.length > 1 && (
        <div class="tabs" role="group" aria-label="Form of the text">
          {views.map(([name, title]) => (
            <button key={name} type="button" aria-pressed={view === name} onClick={() => setView(name)}>
              {title}
            </button>
          ))}
        </div>
      )}
      {view === "layer" ? <Difference before={layer} after={text ?? ""} /> : view === "markdown" ? <pre>{raw}</pre> : view === "read" && children ? children : <p class="prose">{text || <span class="muted">No text.</span>}</p>}
    </section>
  );
}

/** Words that one of two texts lacks. */
export function Difference({ before, after, names = ["of the PDF alone", "of the reading alone"] }) {
  const parts = useMemo(() => diffWords(before, after, { timeout: LONGEST_MS }), [before, after]);
  if (!parts) {
    return (
      <>
        <p class="muted">They have too little in common to be told apart word by word.</p>
        <div class="two">
          <pre>{before}</pre>
          <pre>{after}</pre>
        </div>
      </>
    );
  }
  const same = parts.every((part) => !part.added && !part.removed);
  return (
    <>
      <p class="muted">
        {same ? "No word differs." : <><del>{names[0]}</del> <ins>{names[1]}</ins></>}
      </p>
      <p class="prose">
        {parts.map((part, index) => (part.added ? <ins key={index}>{part.value}</ins> : part.removed ? <del key={index}>{part.value}</del> : part.value))}
      </p>
    </>
  );
}
