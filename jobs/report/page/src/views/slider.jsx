// Code beside what it was made from: the input, and over it what the code looks like, as far as the slider is drawn.
// Both are pictures; the code itself is never run here.

import { useState } from "preact/hooks";

import { pictureUrl } from "../data.js";

export function Slider({ input, output, name }) {
  const [share, setShare] = useState(50);
  return (
    <div class="screen slider">
      <div class="canvas" style={{ aspectRatio: `${input.width_px} / ${Math.max(input.height_px, (output.height_px * input.width_px) / output.width_px)}` }}>
        <img class="under" src={pictureUrl(input.name)} alt={`${name}, the input`} />
        <img class="over" src={pictureUrl(output.name)} alt="What the code looks like" style={{ clipPath: `inset(0 0 0 ${share}%)` }} />
        <span class="divide" style={{ left: `${share}%` }} aria-hidden="true" />
        <span class="side-name left" aria-hidden="true">input</span>
        <span class="side-name right" aria-hidden="true">rendering</span>
      </div>
      <input type="range" min="0" max="100" value={share} onInput={(event) => setShare(Number(event.target.value))} aria-label="How much of the input is seen, and of the rendering beside it" />
    </div>
  );
}
