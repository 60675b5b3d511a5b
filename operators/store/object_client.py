"""The client of a bucket, made from the environment alone: credentials by the provider's usual chain, endpoints by the
usual variables (docs/buckets.md lists them). No address, spec or file of ours says anything of them.
"""

from __future__ import annotations

import os
import re
import socket
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from operators.store.object_errors import sentence_of
from operators.store.retries import timeout_s
from schemas.address import place_of
from schemas.errors import SpecError

CONNECT_S, REQUEST_S = 10, 180
"""Until a connection stands, and until an answer is whole."""
_PREFIXES = {"s3": ("AWS_",), "gs": ("GOOGLE_",), "az": ("AZURE_",)}
_OURS = "SIGHTREAD_STORE_"
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": (),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_IN_REQUESTS = frozenset(
    (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
        *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_SAS_TOKEN"),
    )
)
_PLAIN = re.compile(r"[!-~]*")
_SOURCES = {
    # variables of which one says where credentials come from
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        *("AWS_METADATA_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
    ),
    "gs": (
        *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"),
        *("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SKIP_SIGNATURE"),
    ),
    "az": (
        *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
        *("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY", "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN"),
        *("AZURE_STORAGE_TOKEN", "AZURE_STORAGE_USE_EMULATOR", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET"),
        *("AZURE_FEDERATED_TOKEN_FILE", "AZURE_USE_AZURE_CLI", "AZURE_SKIP_SIGNATURE"),
        *("AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT", "IDENTITY_ENDPOINT"),
    ),
}
_SAY = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
}
_METADATA = "169.254.169.254", 80
"""Where machines of all three services ask for the credentials of their role."""
METADATA_S = 2.0
_GOOGLE_LOGIN = "~/.config/gcloud/application_default_credentials.json"


def client_of(address: str) -> Any:
    """obstore's store of a bucket. address: s3://bucket and the like. Raises SpecError for settings that lead nowhere,
    and where no credentials are to be had."""
    scheme = place_of(address)[0]
    return _client(
        address, tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith((*_PREFIXES[scheme], _OURS))))
    )


@lru_cache(maxsize=64)
def _client(address: str, _variables: tuple[tuple[str, str], ...]) -> Any:
    import obstore.store

    make: Any = obstore.store.from_url
    scheme = place_of(address)[0]
    options: dict[str, Any] = {}
    _check_variables(address)
    endpoint = next(filter(None, (os.environ.get(name) for name in _ENDPOINTS[scheme])), "")
    provider = None
    if scheme == "s3":
        if endpoint:
            options["endpoint"] = endpoint
        if provider := _aws_provider(address):
            options["credential_provider"] = provider
    elif scheme == "az" and (settings := _azure_settings(address)):
        options["config"] = settings
        endpoint = settings.get("endpoint", endpoint)
    if provider is None:
        _check_source(address)
    allowed = os.environ.get(f"{_PREFIXES[scheme][0]}ALLOW_HTTP", "").lower() in ("1", "true")
    http = {"allow_http": True} if allowed or endpoint.lower().startswith("http://") else {}
    times = {"connect_timeout": f"{CONNECT_S}s", "timeout": f"{REQUEST_S}s"}
    times["read_timeout"] = f"{round(timeout_s() * 1000)}ms"
    try:
        return make(
            address,
            client_options={**http, **times},
            retry_config={"max_retries": 0},  # operators/store/retries.py
            **options,
        )
    except Exception as error:  # noqa: BLE001  obstore's own tree, of settings that it does not understand
        raise SpecError(f"{address}: {sentence_of(error)}; docs/buckets.md lists the variables") from None


def _check_variables(address: str) -> None:
    """obstore ends in a panic at what can stand in no request. A value is not repeated: it may be a key."""
    scheme = place_of(address)[0]
    for name, value in os.environ.items():
        if name in _ENDPOINTS[scheme] and value and not _is_endpoint(value):
            raise SpecError(
                f"{address}: {name} is no address: http:// or https://, a host, and a port where it has one"
            )
        if name in _IN_REQUESTS and not _PLAIN.fullmatch(value):
            raise SpecError(f"{address}: {name} holds a character that cannot stand in it, such as the end of a line")


def _is_endpoint(value: str) -> bool:
    try:
        url = urlsplit(value)
        has_place = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False
    return has_place and url.scheme in ("http", "https") and _PLAIN.fullmatch(value) is not None


def _check_source(address: str) -> None:
    """Who has no credentials at all is told so now: the service of a machine's role is asked for a minute where there
    is none."""
    scheme = place_of(address)[0]
    if any(os.environ.get(name) for name in _SOURCES[scheme]):
        return
    if scheme == "gs" and Path(_GOOGLE_LOGIN).expanduser().is_file():
        return
    try:
        socket.create_connection(_METADATA, METADATA_S).close()
    except OSError:
        raise SpecError(
            f"{address}: no credentials: set {_SAY[scheme]}, or run where the machine has a role; "
            "docs/buckets.md lists the variables"
        ) from None


def _aws_provider(address: str) -> Any:
    """Of ~/.aws (profiles, single sign-on), through boto3 where that is installed: obstore reads the environment
    alone."""
    if any(os.environ.get(name) for name in _SOURCES["s3"]):
        return None
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    files = [os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"]
    files += [os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"]
    if not profile and not any(Path(file).expanduser().is_file() for file in files):
        return None
    try:
        import boto3  # type: ignore[import-untyped]
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if not profile:
            return None
        raise SpecError(f"{address}: AWS_PROFILE needs boto3: `.venv/bin/pip install boto3`") from None
    try:
        session = boto3.Session(profile_name=profile)
        return Boto3CredentialProvider(session) if session.get_credentials() is not None else None
    except Exception as error:  # noqa: BLE001  botocore's own tree, of files that a user wrote
        raise SpecError(f"{address}: the profile {profile or 'default'}: {' '.join(str(error).split())}") from None


def _azure_settings(address: str) -> dict[str, str]:
    """What Azure's own tools call otherwise than obstore does. Raises SpecError."""
    settings = {}
    for ours, theirs in (("account_name", "AZURE_STORAGE_ACCOUNT"), ("account_key", "AZURE_STORAGE_KEY")):
        if value := os.environ.get(theirs):
            settings[ours] = value
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "").strip()
    if not text:
        return settings
    parts = dict(pair.strip().partition("=")[::2] for pair in text.split(";") if pair.strip())
    named = {name.lower(): value.strip() for name, value in parts.items()}
    if named.get("usedevelopmentstorage", "").lower() == "true":
        return {"use_emulator": "true"}
    settings = {
        ours: named[theirs]
        for ours, theirs in (
            ("account_name", "accountname"),
            ("account_key", "accountkey"),
            ("sas_key", "sharedaccesssignature"),
            ("endpoint", "blobendpoint"),
        )
        if named.get(theirs)
    }
    if "endpoint" in settings:
        settings["endpoint"] = settings["endpoint"].rstrip("/")
    elif "account_name" in settings:
        suffix = named.get("endpointsuffix") or "core.windows.net"
        protocol = named.get("defaultendpointsprotocol") or "https"
        settings["endpoint"] = f"{protocol}://{settings['account_name']}.blob.{suffix}"
    if not {"account_key", "sas_key"} & settings.keys() or "endpoint" not in settings:
        raise SpecError(
            f"{address}: AZURE_STORAGE_CONNECTION_STRING names no account or endpoint, or neither key nor signature"
        )
    if "account_name" not in settings:  # https://<account>.blob.core.windows.net
        settings["account_name"] = settings["endpoint"].partition("://")[2].split(".")[0].split("/")[-1]
    return settings
