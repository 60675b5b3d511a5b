// A page in blocks: headings, paragraphs, tables from their cells, and the rest as it was written.

import { Place } from "./picture.jsx";

export function Blocks({ blocks, known, active, setActive }) {
  return (
    <div class="blocks">
      {blocks.map((block, index) => (
        <Place key={index} mark={known.get(block)} active={active} setActive={setActive} class={`block ${block.type}`} data-type={block.type}>
          <Inside block={block} />
          {block.caption && <p class="caption">{block.caption}</p>}
        </Place>
      ))}
    </div>
  );
}

function Inside({ block }) {
  if (block.cells?.length) return <Cells cells={block.cells} />;
  switch (block.type) {
    case "heading":
      return <p class={`heading-${Math.min(block.level ?? 1, 4)}`}>{block.text}</p>;
    case "list_item":
      return <p class="bullet" style={{ marginLeft: `${((block.level ?? 1) - 1) * 1.2}rem` }}>{block.text}</p>;
    case "formula":
    case "music":
    case "chemistry":
    case "code":
      return <pre>{block.text}</pre>;
    case "image":
    case "chart":
      return <p class="muted">[{block.type}] {block.text}</p>;
    default:
      return <p>{block.text}</p>;
  }
}

function Cells({ cells }) {
  const rows = new Map();
  for (const cell of cells) rows.set(cell.row, [...(rows.get(cell.row) ?? []), cell]);
  const ordered = [...rows].sort(([one], [other]) => one - other).map(([, row]) => row.sort((one, other) => one.column - other.column));
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table">
      <table class="cells">
        <tbody>
          {ordered.map((row, index) => (
            <tr key={index}>
              {row.map((cell) => {
                const Cell = cell.header ? "th" : "td";
                return (
                  <Cell key={cell.column} rowSpan={cell.row_span} colSpan={cell.column_span}>
                    {cell.text}
                  </Cell>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
