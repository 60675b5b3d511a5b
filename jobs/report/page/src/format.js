// Numbers and times as a person reads them.

const NUMBER = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const number = (value) => NUMBER.format(value);

export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

export const short = (value) => SHORT.format(value);

export function percent(value) {
  const digits = value === 0 || value >= 0.1 ? 0 : value >= 0.01 ? 1 : 2;
  return `${(100 * value).toFixed(digits)} %`;
}

export function seconds(value) {
  if (value >= 3600) return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} min`;
  if (value >= 60) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return value >= 10 || value === 0 ? `${Math.round(value)} s` : `${Number(value.toPrecision(2))} s`;
}

/** A time in a video. */
export function clock(value) {
  const minutes = Math.floor(value / 60);
  const rest = (value - 60 * minutes).toFixed(1).padStart(4, "0");
  return minutes >= 60 ? `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** "output_tokens" -> "output tokens". */
export const words = (name) => name.replaceAll("_", " ");

export const plural = (list) => (list.length === 1 ? "" : "s");
