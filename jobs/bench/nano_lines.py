"""Lines of print through the embedded engine and the nano checkpoint, on any device: `python -m jobs.bench.nano_lines`.

Drawn in Pillow's own font, so that it needs no other. Prints one JSON object: lines, how many were read to the letter,
and seconds. Ends with 1 when fewer than half were.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from jobs.arguments import count
from model.engines.torch_engine import TorchEngine
from model.nano.fonts import Face
from model.nano.pages import held_out_lines
from model.nano.tokens import OCR_PROMPT
from model.prompts.rgb import pack
from schemas.checkout import NANO
from schemas.request import Completion, Message, Request, Sampling

SLOTS = 32


def main() -> int:
    parser = argparse.ArgumentParser(description="Read lines of print with nano.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lines", type=count, default=128, metavar="N")
    options = parser.parse_args()
    samples = held_out_lines([Face("Aileron", None, 1.0)], options.lines, noise=0.0, seed=7)
    requests = [
        Request(
            str(number),
            (Message("user", (pack(sample.picture), OCR_PROMPT)),),
            Sampling(max_tokens=96),
        )
        for number, sample in enumerate(samples)
    ]
    replies, seconds = asyncio.run(_replies(options.device, requests))
    read = sum(reply.text == sample.text for reply, sample in zip(replies, samples, strict=True))
    for reply, sample in zip(replies, samples, strict=True):
        if reply.text != sample.text:
            print(f"{sample.text!r} was read as {reply.text!r}", file=sys.stderr)
    print(json.dumps({"lines": len(samples), "to_the_letter": read, "seconds": round(seconds, 3)}))
    return 0 if 2 * read >= len(samples) else 1


async def _replies(device: str, requests: list[Request]) -> tuple[list[Completion], float]:
    engine = TorchEngine(NANO, device=device, dtype="float32", slots=SLOTS)
    try:
        await engine.generate(requests[0])
        started = time.perf_counter()
        replies = await asyncio.gather(*map(engine.generate, requests))
        return replies, time.perf_counter() - started
    finally:
        await engine.close()


if __name__ == "__main__":
    sys.exit(main())
