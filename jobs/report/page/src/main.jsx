// The page: loads the overview, shows where one is. Everything that is shown is text of others: it goes into elements as
// text, never as markup.

import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { load } from "./data.js";
import { DiffPage } from "./diff.jsx";
import { number } from "./format.js";
import { Gallery } from "./gallery.jsx";
import { isTyping } from "./keys.js";
import { Overview } from "./overview.jsx";
import { taskLink, useRoute } from "./route.js";
import { RunPage } from "./run.jsx";

const KEYS = [
  ["j, ↓ and k, ↑", "next and previous row"],
  ["/", "search"],
  ["Escape", "close the row, or leave the search"],
  ["n", "next row in doubt or failed"],
  ["d", "dark, light, as the system has it"],
  ["?", "this list"],
];
const THEMES = ["system", "light", "dark"];

function App() {
  const route = useRoute();
  const [overview, setOverview] = useState(null);
  const [problem, setProblem] = useState("");
  const [theme, setTheme] = useState(0);
  const help = useRef(null);
  useEffect(() => {
    load("overview").then(setOverview, (error) => setProblem(error.message));
  }, []);
  useEffect(() => {
    document.documentElement.dataset.theme = THEMES[theme];
  }, [theme]);
  useEffect(() => {
    const pressed = (event) => {
      if (isTyping(event)) return;
      if (event.key === "?") help.current.showModal();
      if (event.key === "d") setTheme((now) => (now + 1) % THEMES.length);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  if (problem) return <p class="notice bad" role="alert">{problem}</p>;
  if (!overview) return <p class="loading" role="status">Loading…</p>;
  const task = overview.tasks.find((entry) => entry.name === route.name);
  const page = overview.diff ? "diff" : route.page === "task" && task ? "task" : route.page === "run" ? "run" : "overview";
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main").focus())}>
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="#/">
          <strong>{overview.job}</strong>
          <span class="muted"><bdi>{overview.output}</bdi></span>
        </a>
        <nav aria-label="Parts of the report">
          {!overview.diff && <NavLink link="#/" here={page === "overview"}>Overview</NavLink>}
          {!overview.diff && <NavLink link="#/run" here={page === "run"}>Run</NavLink>}
          {overview.tasks.map((entry) => (
            <NavLink key={entry.name} link={taskLink(entry.name)} here={page !== "overview" && entry.name === (task ?? overview.tasks[0]).name && page !== "run"}>
              {entry.name} <span class="badge">{number(entry.rows.rows ?? entry.rows)}</span>
            </NavLink>
          ))}
        </nav>
        <div class="tools">
          <button type="button" onClick={() => setTheme((theme + 1) % THEMES.length)} title="Colors: as the system has it, light, dark (d)">
            {THEMES[theme] === "dark" ? "☾" : THEMES[theme] === "light" ? "☀" : "◐"}
            <span class="sr-only">Colors: {THEMES[theme]}</span>
          </button>
          <button type="button" onClick={() => help.current.showModal()} title="Keys (?)" aria-label="Keys">?</button>
        </div>
      </header>
      <main id="main" tabIndex={-1} class={page}>
        {page === "diff" ? (
          <DiffPage overview={overview} task={task ?? overview.tasks[0]} route={route} />
        ) : page === "task" ? (
          <Gallery key={task.name} overview={overview} task={task} route={route} />
        ) : page === "run" ? (
          <RunPage overview={overview} />
        ) : (
          <Overview overview={overview} />
        )}
      </main>
      <dialog ref={help} class="help" aria-labelledby="help-title">
        <h2 id="help-title">Keys</h2>
        <dl>
          {KEYS.map(([keys, what]) => (
            <div key={keys}>
              <dt><kbd>{keys}</kbd></dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
        <form method="dialog">
          <button>Close</button>
        </form>
      </dialog>
    </>
  );
}

function NavLink({ link, here, children }) {
  const self = useRef(null);
  useEffect(() => {
    if (here) self.current.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [here]);
  return (
    <a ref={self} href={link} aria-current={here ? "page" : undefined}>
      {children}
    </a>
  );
}

render(<App />, document.getElementById("app"));
