// A list of thousands of lines of one height, of which only those that are seen are there.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { pictureUrl } from "./data.js";

export const LINE_PX = 84; // as .line in style.css
const SPARE = 6; // lines beyond both edges

/** chosen: the place of the line that is open, or -1. link: of a line. */
export function List({ lines, chosen, link, label }) {
  const box = useRef(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(800);
  useLayoutEffect(() => {
    const measure = new ResizeObserver(() => setHeight(box.current.clientHeight));
    measure.observe(box.current);
    return () => measure.disconnect();
  }, []);
  useEffect(() => {
    if (chosen < 0) return;
    const { scrollTop, clientHeight } = box.current;
    const place = chosen * LINE_PX;
    if (place < scrollTop) box.current.scrollTop = place;
    else if (place + LINE_PX > scrollTop + clientHeight) box.current.scrollTop = place + LINE_PX - clientHeight;
  }, [chosen]);
  useEffect(() => {
    if (chosen < 0) box.current.scrollTop = 0;
  }, [lines]);
  const first = Math.max(0, Math.floor(top / LINE_PX) - SPARE);
  const last = Math.min(lines.length, Math.ceil((top + height) / LINE_PX) + SPARE);
  return (
    <div class="list" ref={box} onScroll={() => setTop(box.current.scrollTop)} role="region" aria-label={label} tabIndex={0}>
      <ul style={{ height: `${lines.length * LINE_PX}px` }}>
        {lines.slice(first, last).map((line, index) => (
          <li key={line.id} style={{ top: `${(first + index) * LINE_PX}px` }} aria-setsize={lines.length} aria-posinset={first + index + 1}>
            <Line line={line} link={link(line)} here={first + index === chosen} />
          </li>
        ))}
      </ul>
    </div>
  );
}

function Line({ line, link, here }) {
  const reasons = line.kind ? [line.kind] : (line.faults ?? []);
  return (
    <a class={`line ${line.state}`} href={link} aria-current={here ? "true" : undefined}>
      <span class="thumbnail">{line.thumbnail && <img src={pictureUrl(line.thumbnail)} alt="" loading="lazy" decoding="async" />}</span>
      <span class="line-text">
        <span class="line-head">
          <span class={`dot ${line.state}`} title={line.state} />
          <span class="sr-only">{line.state}: </span>
          <span class="line-name">{line.name}</span>
          <span class="muted nowrap">{line.unit}</span>
        </span>
        {reasons.length > 0 && <span class="line-reasons">{reasons.join(", ")}</span>}
        <span class="line-begins">{line.begins ?? "(nothing)"}</span>
      </span>
    </a>
  );
}
