// Values and pictures of the report. In a folder they are files beside the page: a value is a script that hands itself to
// `sightread(key, value)`, since a page from the disk may not fetch. In a single file they are blocks of the page.

const MOST_KEPT = 60; // files of details that stay in memory

const arriving = new Map(); // key -> {resolve, reject}
const kept = new Map(); // key -> promise, the one used last at the end

globalThis.sightread = (key, value) => arriving.get(key)?.resolve(value);

/** @param {string} key @returns {Promise<any>} */
export function load(key) {
  const promise = kept.get(key) ?? (document.getElementById(`data-${key}`) ? fromBlock(key) : fromFile(key));
  kept.delete(key);
  kept.set(key, promise);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  return promise;
}

/** Where an <img> finds a picture. @param {string} name @returns {string} */
export function pictureUrl(name) {
  const block = document.getElementById(`picture-${name}`);
  return block ? `data:image/webp;base64,${block.textContent}` : `pictures/${encodeURIComponent(name)}`;
}

async function fromBlock(key) {
  return JSON.parse(document.getElementById(`data-${key}`).textContent);
}

function fromFile(key) {
  return new Promise((resolve, reject) => {
    arriving.set(key, { resolve, reject });
    const script = document.createElement("script");
    script.src = `data/${encodeURIComponent(key)}.js`;
    script.onerror = () => reject(new Error(`data/${key}.js cannot be read; the report's folder may be incomplete`));
    script.onload = () => {
      arriving.delete(key);
      script.remove();
    };
    document.head.append(script);
  });
}
