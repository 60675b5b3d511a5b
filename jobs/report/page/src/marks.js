// What a result says of places: whatever in it has a `bbox_px`, `point_px` or `corners_px` is a mark of the picture.

export const COLORS = 8; // classes mark-0 to mark-7

/**
 * @typedef {{number: number, label: string, box?: number[], point?: number[], end?: number[], corners?: number[][],
 *   frame: number, source: object}} Mark  in pixels of the original; source: the object of the result
 */

/** In the order of the result. @returns {Mark[]} */
export function marksOf(value, marks = [], frame = 0) {
  if (Array.isArray(value)) {
    for (const entry of value) marksOf(entry, marks, frame);
  } else if (value && typeof value === "object") {
    const inner = value.frame_index ?? (value.step ? value.step : frame);
    const [box, point, end] = [numbers(value.bbox_px, 4), numbers(value.point_px, 2), numbers(value.end_point_px, 2)];
    const corners = value.corners_px?.length === 8 && value.corners_px.every((corner) => numbers(corner, 2)) ? value.corners_px : null;
    if (box || point || corners) {
      marks.push({ number: marks.length + 1, label: labelOf(value), box, point, end, corners, frame: inner, source: value });
    }
    for (const entry of Object.values(value)) marksOf(entry, marks, inner);
  }
  return marks;
}

const numbers = (value, count) => (Array.isArray(value) && value.length === count && value.every(Number.isFinite) ? value : null);

function labelOf(value) {
  const named = value.names?.find((name) => name.language === "en") ?? value.names?.[0];
  const role = value.role ? `${value.role} ${value.text ?? ""}`.trim() : "";
  return value.label || named?.name || role || value.action || value.type || value.text || "";
}

/** By the object that a mark stands for. @param {Mark[]} marks */
export const bySource = (marks) => new Map(marks.map((mark) => [mark.source, mark]));

/** Where the number of a mark stands: x, y. @param {Mark} mark */
export function anchorOf({ box, point, corners }) {
  if (corners) return [Math.min(...corners.map(([x]) => x)), Math.min(...corners.map(([, y]) => y))];
  return box ? [box[0], box[1]] : point;
}

/** Pairs of corners of a box in space between which it has an edge: their places differ in one bit. */
export const EDGES = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((from) =>
  [1, 2, 4].map((bit) => [from, from ^ bit]).filter(([start, end]) => start < end),
);
