"""What of this process's environment its children get: names on a list, and nothing else. Keys and tokens stay here,
as does whatever would make a child load a stranger's code (LD_PRELOAD, PYTHON*). Knows nothing of what a child does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from schemas.checkout import ROOT

MARK = "SIGHTREAD_MARK"
"""A label that goes from a command to every process that it starts: whoever set it finds by it what is left."""

# without HOME, Python asks the system's directory of users for it as it starts
_NAMES = frozenset(("HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", MARK))
_LISTS = frozenset(("PATH", "LD_LIBRARY_PATH"))
"""Lists of folders. Entries that are empty or relative would mean the current folder, and are left out."""

_ENGINE_NAMES = frozenset(
    (
        *("USER", "LOGNAME", "CC", "CXX", "MAX_JOBS", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH"),
    )
)
_ENGINE_PREFIXES = (
    *("CUDA", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "NVSHMEM_", "NVTE_", "UCX_", "FI_", "GLOO_"),
    *("ROCM_", "AMD_", "AITER_", "GPU_", "ROCR_", "HIP_", "HSA_", "RCCL_", "MIOPEN_", "HABANA_"),
    *("ONEAPI_", "ZE_", "TPU_"),
    *("TORCH", "PYTORCH_", "TRITON_", "TVM_", "FLASHINFER_", "DG_", "VLLM_"),
    *("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TOKENIZERS_", "SAFETENSORS_", "XDG_"),
    *("OMP_", "KMP_", "MKL_", "OPENBLAS_", "GOMP_", "NUMEXPR_", "MALLOC_", "ARROW_"),
)
_SECRET = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")


def environment_of_child(*, of_engine: bool = False, keys: Iterable[str] = ()) -> dict[str, str]:
    """Where it is, what language and time zone hold, and where its modules lie, which is this checkout alone.

    of_engine: also the settings of GPUs, numerical libraries, caches, certificates and proxies; no variable whose name
    says that it is a secret. keys: names of variables that it gets whatever they are called.
    """
    kept = {name: value for name, value in os.environ.items() if _is_for(name, of_engine=of_engine)}
    for name in _LISTS & kept.keys():
        kept[name] = os.pathsep.join(filter(os.path.isabs, kept[name].split(os.pathsep)))
    kept |= {name: os.environ[name] for name in keys if name in os.environ}
    return {name: value for name, value in kept.items() if value} | {"PYTHONPATH": str(ROOT)}


def _is_for(name: str, *, of_engine: bool) -> bool:
    if name in _NAMES or name in _LISTS or name.startswith("LC_"):
        return True
    if not of_engine or _SECRET.search(name.upper()):
        return False
    return name.upper() in _ENGINE_NAMES or name.startswith(_ENGINE_PREFIXES)
