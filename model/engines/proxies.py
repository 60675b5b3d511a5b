"""Which proxy the environment names for an address. Knows nothing of who asks."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

_THIS_MACHINE = ("localhost", "127.", "::1")


def proxy_for(url: str) -> str | None:
    """HTTPS_PROXY or HTTP_PROXY (small letters too), by the scheme; none for what NO_PROXY names, nor for this machine,
    which a proxy would take for itself. A proxy of another kind (SOCKS) is none."""
    address = urlsplit(url)
    proxies = getproxies_environment()
    host = address.hostname or ""
    if host.startswith(_THIS_MACHINE) or proxy_bypass(address.netloc.rpartition("@")[2], proxies):
        return None
    proxy = proxies.get(address.scheme, "")
    proxy = proxy if "://" in proxy or not proxy else f"http://{proxy}"
    return proxy if proxy.startswith(("http://", "https://")) else None
