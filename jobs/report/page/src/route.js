// Where one is, as the fragment of the address: every row and every filter has a link.
//
//   #/                              the overview
//   #/run                           the last run
//   #/task/<name>?state=…&row=…     rows of a task; keys of FILTERS, and the row that is open

import { useEffect, useState } from "preact/hooks";

export const FILTERS = ["state", "fault", "kind", "model", "input", "q"];

export function parse(hash) {
  const [path, query] = hash.replace(/^#/, "").split("?");
  const [page = "", name] = path.split("/").filter(Boolean);
  return { page, name: name === undefined ? undefined : decode(name), query: new URLSearchParams(query) };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string} name of a task @param {Record<string, string|null|undefined>} values */
export function taskLink(name, values = {}) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  return `#/task/${encodeURIComponent(name)}${query.size ? `?${query}` : ""}`;
}

/** The same place with other values; null takes a key away. */
export function changed(route, values) {
  return taskLink(route.name, { ...Object.fromEntries(route.query), ...values });
}

export function go(link, { replace = false } = {}) {
  if (replace) location.replace(link);
  else location.hash = link.slice(1);
}

export function useRoute() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const follow = () => setHash(location.hash);
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return parse(hash);
}
