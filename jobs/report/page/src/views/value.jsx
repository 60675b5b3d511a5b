// Any value, as tables within tables: what a task of one's own gives.

import { words } from "../format.js";
import { Place } from "./picture.jsx";

export function Value({ value, known, active, setActive }) {
  if (value === null || value === undefined) return <span class="muted">none</span>;
  if (Array.isArray(value)) {
    if (!value.length) return <span class="muted">empty</span>;
    if (value.every((entry) => typeof entry !== "object")) return <span>{value.map(plain).join(", ")}</span>;
    return (
      <ol class="values">
        {value.map((entry, index) => (
          <Place key={index} as="li" mark={known.get(entry)} active={active} setActive={setActive}>
            <Value value={entry} known={known} active={active} setActive={setActive} />
          </Place>
        ))}
      </ol>
    );
  }
  if (typeof value === "object") {
    return (
      <table class="pairs">
        <tbody>
          {Object.entries(value).map(([key, entry]) => (
            <tr key={key}>
              <th scope="row">{words(key)}</th>
              <td>
                <Value value={entry} known={known} active={active} setActive={setActive} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    );
  }
  return <span class="prose">{plain(value)}</span>;
}

const plain = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : typeof value === "boolean" ? (value ? "yes" : "no") : String(value));
