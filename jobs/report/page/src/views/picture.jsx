// A picture with marks over it. What a mark is called stands in the answer beside it; pointing at one shows the other.

import { useState } from "preact/hooks";

import { pictureUrl } from "../data.js";
import { COLORS, EDGES, anchorOf } from "../marks.js";

const MOST_NUMBERS = 150; // beyond it, only the one that is pointed at has its number

/** width, height: of the original, in pixels, which marks refer to. */
export function Picture({ picture, width, height, marks = [], active, setActive, label, wide }) {
  const [large, setLarge] = useState(false);
  const [w, h] = width && height ? [width, height] : [picture.width_px, picture.height_px];
  return (
    <figure class={`picture ${large ? "large" : ""}`}>
      <div class="canvas" style={{ aspectRatio: `${w} / ${h}`, "--ratio": w / h }}>
        <img src={pictureUrl(picture.name)} width={picture.width_px} height={picture.height_px} alt={label} decoding="async" />
        {marks.length > 0 && (
          <svg viewBox={`0 0 ${w} ${h}`} preserveAspectRatio="none" aria-hidden="true">
            {marks.map((mark) => (
              <Shape key={mark.number} mark={mark} size={Math.max(w, h)} active={mark === active} setActive={setActive} />
            ))}
          </svg>
        )}
        {marks
          .filter((mark) => marks.length <= MOST_NUMBERS || mark === active)
          .map((mark) => (
            <Tag key={mark.number} mark={mark} width={w} height={h} active={mark === active} setActive={setActive} />
          ))}
      </div>
      {wide !== false && (
        <button type="button" class="enlarge" onClick={() => setLarge(!large)} aria-pressed={large}>
          {large ? "fit" : "enlarge"}
        </button>
      )}
    </figure>
  );
}

const color = (mark) => `mark-${(mark.number - 1) % COLORS}`;

function Shape({ mark, size, active, setActive }) {
  const point = { onMouseEnter: () => setActive?.(mark), onMouseLeave: () => setActive?.(null) };
  const name = `${color(mark)} ${active ? "active" : ""}`;
  const { box, corners } = mark;
  const start = mark.point;
  return (
    <g class={name} {...point}>
      {corners && EDGES.map(([from, to]) => <line key={`${from} ${to}`} x1={corners[from][0]} y1={corners[from][1]} x2={corners[to][0]} y2={corners[to][1]} />)}
      {box && !corners && <rect x={box[0]} y={box[1]} width={Math.max(0, box[2] - box[0])} height={Math.max(0, box[3] - box[1])} />}
      {mark.end && start && <line x1={start[0]} y1={start[1]} x2={mark.end[0]} y2={mark.end[1]} />}
      {start && <circle cx={start[0]} cy={start[1]} r={size / 90} />}
      {mark.end && <circle cx={mark.end[0]} cy={mark.end[1]} r={size / 160} />}
    </g>
  );
}

function Tag({ mark, width, height, active, setActive }) {
  const anchor = anchorOf(mark);
  if (!anchor) return null;
  const inside = (value, all) => `${Math.min(99, Math.max(0, (100 * value) / all))}%`;
  return (
    <span class={`tag ${color(mark)} ${active ? "active" : ""}`} style={{ left: inside(anchor[0], width), top: inside(anchor[1], height) }} onMouseEnter={() => setActive?.(mark)} onMouseLeave={() => setActive?.(null)} aria-hidden="true">
      {mark.number}
      {active && mark.label && <span class="tag-label"> {mark.label.slice(0, 60)}</span>}
    </span>
  );
}

/** What stands for a mark in an answer. */
export function Place({ mark, active, setActive, children, as: As = "div", ...others }) {
  if (!mark) return <As {...others}>{children}</As>;
  const point = () => setActive(mark);
  const leave = () => setActive(null);
  return (
    <As {...others} class={`place ${color(mark)} ${mark === active ? "active" : ""} ${others.class ?? ""}`} tabIndex={0} onMouseEnter={point} onMouseLeave={leave} onFocus={point} onBlur={leave}>
      <span class="number" aria-hidden="true">{mark.number}</span>
      {children}
    </As>
  );
}
