// What the model saw of a unit: a page or picture, frames of a clip on a time bar, pages of a document, screens.

import { useMemo, useState } from "preact/hooks";

import { pictureUrl } from "../data.js";
import { clock } from "../format.js";
import { Picture } from "./picture.jsx";
import { Slider } from "./slider.jsx";
import { TimeBar, spansOf } from "./spans.jsx";

export function Screen({ row, marks, active, setActive, name }) {
  if (!row.pictures.length) return <p class="no-picture muted">No picture: {row.missing}</p>;
  if (row.screenshot) return <Slider input={row.pictures[0]} output={row.screenshot} name={name} />;
  if (row.pictures.length === 1 && row.unit_kind !== "clip" && row.unit_kind !== "video") {
    return (
      <div class="screen">
        <Picture picture={row.pictures[0]} width={row.width_px} height={row.height_px} marks={marks} active={active} setActive={setActive} label={`${name}, as the model saw it`} />
      </div>
    );
  }
  return <Pictures row={row} marks={marks} active={active} setActive={setActive} name={name} />;
}

/** Several pictures: one large, the others beneath it. */
function Pictures({ row, marks, active, setActive, name }) {
  const isTimed = row.unit_kind === "clip" || row.unit_kind === "video";
  const cited = new Set(row.result?.pages ?? []);
  const [chosen, setChosen] = useState(() => first(row, marks, cited));
  const spans = useMemo(() => spansOf(row.result), [row]);
  const wanted = active ? row.pictures.findIndex((picture) => picture.index === active.frame) : -1;
  const picture = row.pictures[wanted >= 0 ? wanted : chosen];
  const title = (entry) => (isTimed ? `${clock(entry.time_s ?? 0)}` : row.unit_kind === "episode" ? `screen ${entry.index}` : `page ${entry.index}`);
  const step = row.result?.steps?.find((entry) => entry.step === picture.index);
  const size = isTimed ? [row.width_px, row.height_px] : step ? [step.width_px, step.height_px] : [0, 0];
  return (
    <div class="screen several">
      <Picture picture={picture} width={size[0]} height={size[1]} marks={marks.filter((mark) => mark.frame === picture.index)} active={active} setActive={setActive} label={`${name}, ${title(picture)}`} />
      {isTimed && row.end_s > row.start_s && <TimeBar row={row} spans={spans} at={picture.time_s} onPick={(time) => setChosen(nearest(row.pictures, time))} />}
      <ul class="film" aria-label={isTimed ? "Frames" : row.unit_kind === "episode" ? "Screens" : "Pages"}>
        {row.pictures.map((entry, index) => (
          <li key={entry.name}>
            <button type="button" class={cited.has(entry.index) ? "cited" : ""} aria-pressed={entry === picture} onClick={() => setChosen(index)}>
              <img src={pictureUrl(entry.name)} alt="" loading="lazy" decoding="async" />
              <span>
                {title(entry)}
                {cited.has(entry.index) && " (cited)"}
                {marks.some((mark) => mark.frame === entry.index) && isTimed && " ▢"}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function first(row, marks, cited) {
  const place = row.pictures.findIndex((picture) => marks.some((mark) => mark.frame === picture.index) || cited.has(picture.index));
  return Math.max(0, place);
}

function nearest(pictures, time) {
  const distance = (picture) => Math.abs((picture.time_s ?? 0) - time);
  return pictures.reduce((best, picture, index) => (distance(picture) < distance(pictures[best]) ? index : best), 0);
}
