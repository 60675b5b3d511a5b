"""The peer of `sightread bench pipeline`: ray.data.llm over vLLM. Run by the Python that has both.

It gets what suits it: pictures and frames that are decoded already, prompts that are rendered, no templating or
tokenizing stages. Timed by the engine's own clock: from the first request that reaches vLLM to the last answer.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from model.engines.vllm_args import arguments
from model.engines.vllm_kind import Settings
from model.network.hub import config_json
from model.prompts.rgb import unpack
from schemas.request import Clip, Picture, Request

ROWS = pa.schema(
    [
        ("prompt", pa.string()),
        ("kind", pa.string()),  # image or video
        ("size", pa.list_(pa.int64())),  # [frames, height, width]
        ("frames", pa.list_(pa.large_binary())),  # as Picture has them
        ("times_s", pa.list_(pa.float64())),
        ("sampling", pa.string()),  # JSON
    ]
)


RESULT = "ray.data.llm took: "
"""What stands before the result."""


def write_requests(requests: Sequence[Request], path: Path) -> None:
    """Of the bench: one picture or clip and a text each."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, ROWS) as writer:
        writer.write_table(pa.Table.from_pylist(list(_rows(requests)), schema=ROWS))


def _rows(requests: Sequence[Request]) -> Iterator[dict[str, Any]]:
    for request in requests:
        content, text = request.messages[0].parts
        assert isinstance(content, (Picture, Clip))
        frames = content.frames if isinstance(content, Clip) else (content,)
        pad = "video" if isinstance(content, Clip) else "image"
        sampling = request.sampling
        yield {
            "prompt": f"<|im_start|>user\n<|vision_start|><|{pad}_pad|><|vision_end|>{text}<|im_end|>\n"
            "<|im_start|>assistant\n",
            "kind": pad,
            "size": [len(frames), frames[0].height_px, frames[0].width_px],
            "frames": [bytes(frame.data) for frame in frames],
            "times_s": list(content.times_s) if isinstance(content, Clip) else [],
            "sampling": json.dumps(
                {"temperature": sampling.temperature, "seed": sampling.seed, "max_tokens": sampling.max_tokens}
            ),
        }


def row_of_vllm(row: dict[str, Any]) -> dict[str, Any]:
    """Its preprocess function: the data as vLLM takes them."""
    from PIL import Image

    _, height, width = (int(side) for side in row["size"])
    frames = np.stack([unpack(Picture(width, height, data)) for data in row["frames"]])
    fields: dict[str, Any] = {"prompt": row["prompt"], "sampling_params": json.loads(row["sampling"])}
    if row["kind"] == "image":
        return {**fields, "multimodal_data": {"image": [Image.fromarray(frames[0])]}}
    fps = 1000.0  # times in milliseconds are the indices of such a source
    indices = [round(time_s * fps) for time_s in row["times_s"]]
    metadata = {
        "fps": fps, "frames_indices": indices, "total_num_frames": indices[-1] + 1, "duration": indices[-1] / fps,
        "video_backend": "opencv", "do_sample_frames": False,
    }  # fmt: skip
    return {**fields, "multimodal_data": {"video": [(frames, metadata)]}}


def main() -> None:
    """argv: the requests, vLLM's settings (JSON), rows a batch, batches at once. Prints JSON."""
    path, description, batch, batches = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    settings = Settings(**description)
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    chosen = arguments(settings, config_json(Path(settings.model)), free_bytes=free_bytes, thinks=False)
    model = chosen.pop("model")
    for name in ("enable_log_requests", "structured_outputs_config"):
        chosen.pop(name)
    ray.init(address="local", num_cpus=(os.cpu_count() or 1) + 4, include_dashboard=False, log_to_driver=True)
    device = {"CPU": 1} if settings.device == "cpu" else {"CPU": 1, "GPU": 1}
    config = vLLMEngineProcessorConfig(
        model_source=model,
        engine_kwargs=chosen,
        batch_size=batch,
        max_concurrent_batches=batches,
        concurrency=1,
        log_engine_metrics=False,  # breaks without ray[serve]
        placement_group_config={"bundles": [device]},
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
    )
    processor = build_processor(
        config,
        preprocess=row_of_vllm,
        postprocess=lambda row: {
            "tokens": row["num_generated_tokens"],
            "start_s": row["metrics"]["arrival_time"],
            "end_s": row["metrics"]["arrival_time"] + row["time_taken_llm"],
        },
    )
    with pa.OSFile(path, "rb") as file:
        table = pa.ipc.open_file(file).read_all()
    rows = processor(ray.data.from_arrow(table).repartition(max(1, table.num_rows // 16))).take_all()
    seconds = max(row["end_s"] for row in rows) - min(row["start_s"] for row in rows)
    tokens = sum(row["tokens"] for row in rows)
    # Ray's workers write to this stdout too, and later
    print(f"\n{RESULT}{json.dumps({'rows': len(rows), 'seconds': seconds, 'output_tokens': tokens})}", flush=True)


if __name__ == "__main__":
    main()
