"""Whether a Ray cluster lets everybody in: asked at its door, without a token. For `sightread doctor`."""

from __future__ import annotations

from typing import Any

from schemas.finding import Finding

WAIT_S = 10.0
FIX = "start it with RAY_AUTH_MODE=token, see docs/clusters.md"


def cluster_doors(address: str) -> Finding:
    """address: as in RAY_ADDRESS."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address.startswith("ray://") or not host or not port.isdigit():
        return Finding("note", "cluster", f"whether {address} asks for tokens is not looked into: name its host:port")
    import grpc  # type: ignore[import-untyped]
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2
    services: Any = gcs_service_pb2_grpc
    with grpc.insecure_channel(address) as channel:
        try:
            services.InternalKVGcsServiceStub(channel).InternalKVKeys(
                messages.InternalKVKeysRequest(prefix=b"session_name"), timeout=WAIT_S
            )
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return Finding("ok", "cluster", f"{address} asks for a token")
            return Finding(
                "fail", "cluster", f"{address} does not answer: {error.code().name}", "start it, or unset RAY_ADDRESS"
            )
    return Finding("note", "cluster", f"{address} lets everybody in who reaches its ports, to run code", FIX)
