// Every exchange with the engine, where there were several, side by side.

import { count } from "../format.js";

export function Attempts({ row }) {
  return (
    <details class="fold">
      <summary>
        Attempts <span class="muted">{count(row.attempts.length, "exchange")} with the engine</span>
      </summary>
      <div class="attempts" tabIndex={0} role="region" aria-label="Attempts">
        {row.attempts.map((attempt, index) => (
          <section key={index} class={attempt.text && attempt.text === row.text ? "attempt chosen" : "attempt"}>
            <h3>
              {index + 1}. {attempt.note || "as it is"}
              {attempt.text && attempt.text === row.text && <span class="badge">the answer</span>}
            </h3>
            <p class="muted">
              {attempt.finish_reason}, {count(attempt.output_tokens ?? 0, "token")}
            </p>
            <pre>{attempt.text}</pre>
          </section>
        ))}
      </div>
    </details>
  );
}
