"""vLLM as an engine: its AsyncLLM on our loop, its core in a process of its own. The one place that imports it.

What is unusual: vLLM is handed finished inputs (`EngineInput`, the product of its own renderer). Prompts are rendered
and pictures patched by the same code as for the embedded engine, on threads of ours; so token ids are the same by
construction, nothing is sampled or resized a second time, times of frames are exact, and none of it waits for vLLM's
own single preprocessing thread (renderers/base.py, `_mm_executor`; slow: vllm issues 29869, 21873).
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.engines.encoder_cache import digest
from model.engines.vllm_args import VLLMSettings, arguments
from model.network.hub import config_json
from model.prompts.chat import Chat, Prompt
from model.prompts.pixels import frame_pair_times_s
from model.prompts.preprocess import Grid, byte_patches
from schemas.errors import ChildDied, EngineError, SpecError
from schemas.request import Clip, Completion, FinishReason, Message, Picture, Request

OLDEST = (0, 32)
"""The first version whose EngineInput this was written against."""
PREPARERS = 4
AHEAD = 0.125
"""Requests kept ready beyond the slots, as a share of them. Each holds its patches: 6 KB a token."""


@dataclass(frozen=True)
class PatchedVisual:
    """A picture or clip as vLLM takes it. patches [t*h*w, 1536] uint8: its tower normalizes them on the device."""

    content: Picture | Clip
    patches: torch.Tensor
    grid: Grid


class VLLMEngine:
    """Raises SpecError for a vLLM that is missing or too old, and for what it refuses to start with."""

    def __init__(self, settings: VLLMSettings) -> None:
        self.slots = settings.slots
        self.max_context = settings.max_context
        folder = Path(settings.model)
        self._chat = Chat(folder)
        self._vllm = _import()
        thinks = self._chat.opens_thinking(self._chat.encode([Message("user", ("",))]).input_ids)
        free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        chosen = arguments(settings, config_json(folder), free_bytes=free_bytes, thinks=thinks)
        _check_names(chosen, self._vllm.AsyncEngineArgs)
        if "hf_overrides" in chosen:
            os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"
        self._progress = 0
        try:
            self._llm = self._vllm.AsyncLLM.from_engine_args(
                self._vllm.AsyncEngineArgs(**chosen), stat_loggers=[self._heartbeat()]
            )
        except (ValueError, TypeError, NotImplementedError) as error:  # pydantic's ValidationError is a ValueError
            raise SpecError(f"engine: vLLM does not start with these settings: {_sentence(error)}") from error
        self._preparers = ThreadPoolExecutor(PREPARERS, thread_name_prefix="prepare")
        self._room = asyncio.Semaphore(settings.slots + max(PREPARERS, int(AHEAD * settings.slots)))

    @property
    def progress(self) -> int:
        return self._progress

    async def generate(self, request: Request) -> Completion:
        async with self._room:
            started = time.monotonic()
            loop = asyncio.get_running_loop()
            try:
                prompt, sampling = await loop.run_in_executor(self._preparers, self._prepare, request)
            except ValueError as error:
                raise EngineError("engine_error", f"the request's pictures cannot be read: {error}") from error
            self._progress += 1
            final = await self._ask(prompt, sampling, request.request_id)
            self._progress += 1
            output = final.outputs[0]
            prompt_ids, output_ids = list(final.prompt_token_ids), list(output.token_ids)
            reply = self._chat.decode_reply(prompt_ids, output_ids, request.sampling.stop)
            reason: FinishReason = "length" if output.finish_reason == "length" else "stop"
            return Completion(
                text=reply.text,
                finish_reason=reason,
                prompt_tokens=len(prompt_ids),
                output_tokens=len(output_ids),
                infer_s=time.monotonic() - started,
                reasoning=reply.reasoning,
                reasoning_tokens=reply.reasoning_tokens,
            )

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._llm.shutdown)
        self._preparers.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, prompt: dict[str, Any], sampling: Any, request_id: str) -> Any:
        final = None
        try:
            async for output in self._llm.generate(prompt, sampling, request_id):
                final = output
        except self._vllm.EngineDeadError as error:
            # unrecoverable for all that is under way: the process must end, and the supervisor starts another
            raise ChildDied("crashed", "vLLM's engine core died (EngineDeadError)") from error
        except (self._vllm.VLLMClientError, ValueError) as error:
            # an item beyond the encoder's cache is refused here: v36814
            kind = "too_long" if "exceeds the pre-allocated encoder cache" in str(error) else "engine_error"
            raise EngineError(kind, _sentence(error)) from error
        except self._vllm.EngineGenerateError as error:
            raise EngineError("engine_error", _sentence(error.__cause__ or error)) from error
        assert final is not None
        if final.outputs[0].finish_reason not in ("stop", "length"):
            raise EngineError("engine_error", f"vLLM ended the answer with {final.outputs[0].finish_reason!r}")
        return final

    def _prepare(self, request: Request) -> tuple[dict[str, Any], Any]:
        prompt = self._chat.encode_with(self._preprocess, request.messages)
        length = len(prompt.input_ids)
        if length >= self.max_context:
            raise EngineError("too_long", f"the prompt has {length} tokens; the context holds {self.max_context}")
        return self._engine_input(prompt), self._sampling(request, self.max_context - length)

    def _preprocess(self, content: Picture | Clip) -> tuple[PatchedVisual, Grid]:
        patches, grid = byte_patches(content)
        return PatchedVisual(content, patches, grid), grid

    def _engine_input(self, prompt: Prompt[PatchedVisual]) -> dict[str, Any]:
        """`vllm.inputs.MultiModalInput`, as Qwen3VLMultiModalProcessor would have made it."""
        if not prompt.visuals:
            return {"type": "token", "prompt_token_ids": prompt.input_ids}
        inputs: dict[str, Any] = {}
        fields: dict[str, Any] = {}
        hashes: dict[str, list[str]] = {}
        places: dict[str, list[Any]] = {}
        for modality, kind, pixels, grids, pad in (
            ("image", Picture, "pixel_values", "image_grid_thw", self._chat.image_id),
            ("video", Clip, "pixel_values_videos", "video_grid_thw", self._chat.video_id),
        ):
            of_kind = [
                (visual, span)
                for (visual, _), span in zip(prompt.visuals, prompt.spans, strict=True)
                if isinstance(visual.content, kind)
            ]
            if not of_kind:
                continue
            grid = torch.tensor([visual.grid for visual, _ in of_kind])
            field = self._vllm.MultiModalFieldConfig
            inputs |= {pixels: torch.cat([visual.patches for visual, _ in of_kind]), grids: grid}
            fields |= {
                pixels: field.flat_from_sizes(modality, grid.prod(-1)),
                grids: field.batched(modality, keep_on_cpu=True),
            }
            if modality == "video":
                clips = [visual.content for visual, _ in of_kind if isinstance(visual.content, Clip)]
                inputs["timestamps"] = [frame_pair_times_s(clip.times_s) for clip in clips]
                fields["timestamps"] = field.batched(modality, keep_on_cpu=True)
            hashes[modality] = [digest(visual.content).hex() for visual, _ in of_kind]
            places[modality] = [self._place(prompt.input_ids, span, pad) for _, span in of_kind]
        return {
            "type": "multimodal",
            "prompt_token_ids": prompt.input_ids,
            "mm_kwargs": self._vllm.MultiModalKwargsItems.from_hf_inputs(inputs, fields),
            "mm_hashes": hashes,
            "mm_placeholders": places,
        }

    def _place(self, input_ids: list[int], span: tuple[int, int], pad: int) -> Any:
        start, end = span
        is_pad = torch.tensor(input_ids[start:end]) == pad
        return self._vllm.PlaceholderRange(start, end - start, None if bool(is_pad.all()) else is_pad)

    def _sampling(self, request: Request, room: int) -> Any:
        wanted = request.sampling
        return self._vllm.SamplingParams(
            temperature=wanted.temperature,
            top_p=wanted.top_p,
            top_k=wanted.top_k,
            presence_penalty=wanted.presence_penalty,
            repetition_penalty=wanted.repetition_penalty,
            seed=wanted.seed,
            max_tokens=min(wanted.max_tokens, room),
            stop=list(wanted.stop),
            stop_token_ids=sorted(self._chat.stop_ids),
            detokenize=bool(wanted.stop),  # else the text is made here, once
            output_kind=self._vllm.RequestOutputKind.FINAL_ONLY,
            structured_outputs=None
            if request.schema is None
            else self._vllm.StructuredOutputsParams(json=request.schema, disable_any_whitespace=True),
        )

    def _heartbeat(self) -> Any:
        """A stat logger that is told of every step of the core, whether or not a request has ended in it."""
        engine = self

        class Heartbeat(self._vllm.StatLoggerBase):  # type: ignore[misc,name-defined]
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
                pass

            def record(self, *_: Any, **__: Any) -> None:
                engine._progress += 1

            def log_engine_initialized(self) -> None:
                pass

        return Heartbeat


@dataclass(frozen=True)
class _VLLM:
    """What is taken of it."""

    AsyncEngineArgs: Any
    AsyncLLM: Any
    EngineDeadError: Any
    EngineGenerateError: Any
    MultiModalFieldConfig: Any
    MultiModalKwargsItems: Any
    PlaceholderRange: Any
    RequestOutputKind: Any
    SamplingParams: Any
    StatLoggerBase: Any
    StructuredOutputsParams: Any
    VLLMClientError: Any


def _import() -> _VLLM:
    """Settings in the environment come first: they are read on import. Those that the user made stand."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # never a fork of a process with threads
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of preprocessing get in each other's way: recipes PR 91
    try:
        from vllm import AsyncEngineArgs, SamplingParams, __version__
        from vllm.exceptions import VLLMClientError
        from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems, PlaceholderRange
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
        from vllm.v1.metrics.loggers import StatLoggerBase
    except ImportError as error:
        raise SpecError(
            f"engine.kind: vllm cannot be imported ({_sentence(error)}); pip install -e .[vllm], or name the Python "
            "that has it in SIGHTREAD_VLLM_PYTHON"
        ) from error
    if fault := version_fault(__version__):
        raise SpecError(f"engine.kind: {fault}")
    return _VLLM(
        AsyncEngineArgs, AsyncLLM, EngineDeadError, EngineGenerateError, MultiModalFieldConfig, MultiModalKwargsItems,
        PlaceholderRange, RequestOutputKind, SamplingParams, StatLoggerBase, StructuredOutputsParams, VLLMClientError,
    )  # fmt: skip


def version_fault(version: str) -> str | None:
    """Why this vLLM will not do, as a sentence."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST:
        return f"vLLM {version} is older than {'.'.join(map(str, OLDEST))}, whose inputs differ; upgrade it"
    return None


def _check_names(chosen: dict[str, Any], engine_args: Any) -> None:
    known = [field.name for field in dataclasses.fields(engine_args)]
    if unknown := sorted(chosen.keys() - set(known)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        raise SpecError(
            f"engine.options: vLLM has no argument {unknown[0]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        )


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
