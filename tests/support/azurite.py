"""Microsoft's own emulator of Azure Blob Storage, in a process of its own (scripts/setup-azurite)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate

from schemas.checkout import ROOT
from tests.support.object_server import free_port

NODE, SERVER = ROOT / ".azurite/node", ROOT / ".azurite/node_modules/azurite/dist/src/blob/main.js"
ACCOUNT, KEY = "sightread", base64.b64encode(b"planted key of the tests, 32 byte").decode()


@dataclass(frozen=True)
class Azurite:
    endpoint: str

    @property
    def connection_string(self) -> str:
        return f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.endpoint};"

    def new_container(self) -> str:
        """az://… of an empty one."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
        path = f"/{ACCOUNT}/{ACCOUNT}/{name}"  # the account is a part of the emulator's address too
        lines = [*(f"{key}:{value}" for key, value in headers.items()), path, "restype:container"]
        signed = hmac.new(base64.b64decode(KEY), ("PUT" + "\n" * 12 + "\n".join(lines)).encode(), hashlib.sha256)
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signed.digest()).decode()}"
        url = f"{self.endpoint}/{name}?restype=container"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=10).close()
        return f"az://{name}"


@contextmanager
def azurite() -> Iterator[Azurite]:
    port = free_port()
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent"]
    server = subprocess.Popen(
        [NODE, SERVER, *options, "--skipApiVersionCheck", "--disableTelemetry"],
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, "Azurite ended"
                time.sleep(0.1)
        yield Azurite(f"http://127.0.0.1:{port}/{ACCOUNT}")
    finally:
        server.kill()
        server.wait()
