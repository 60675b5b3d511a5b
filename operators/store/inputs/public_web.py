"""Which places of the web are read: addresses by text, and machines by the number that a socket is about to connect to.

A table of addresses may come from anywhere, and our nodes stand in networks where other machines, and the clouds' own
services with their keys, believe whoever asks from inside. So only machines of the public internet are asked, unless
the spec names the host (fetch.allow_hosts).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from yarl import URL

from schemas.errors import InputError

_PRINTABLE = re.compile(r"[!-~]+")
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            # the special-purpose registries of IANA (RFC 6890 and later), and multicast
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
            *("203.0.113.0/24", "224.0.0.0/3"),
            "168.63.129.16/32",  # Azure's service for the machine itself has an address that looks public
            *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),  # of 2000::/3; all beyond it is refused anyway
        ),
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_HOLDS_IPV4 = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))
"""Mapped, and NAT64 with its well-known prefix: an IPv4 address in the last 32 bits, which is the one that counts."""


def is_public(number: str) -> bool:
    """Whether an address as a socket has it, numeric, is one of the public internet."""
    try:
        address = ipaddress.ip_address(number)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _HOLDS_IPV4):
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        if address not in _GLOBAL_UNICAST:
            return False
    return not any(address.version == network.version and address in network for network in _NOT_PUBLIC)


def web_url(address: str, allow_hosts: Collection[str] = ()) -> URL:
    """The address, to be asked as it is written. Repeats nothing of one that holds a password.

    Raises InputError: not_found for what is none, permission for what is not to be asked.
    """
    try:
        url = URL(address, encoded=_PRINTABLE.fullmatch(address) is not None)
        host, _ = url.host, url.port
    except ValueError as error:
        raise InputError("not_found", "this is no address of the web") from error
    if url.raw_user is not None or url.raw_password is not None:
        raise InputError("permission", "an address with a user or a password in it is not read")
    if url.scheme not in ("https", "http") or not host:
        raise InputError("not_found", "this is no address of the web")
    if url.scheme == "http" and not is_allowed(url, allow_hosts):
        raise InputError("permission", f"{host} is not asked by http, only by https (fetch.allow_hosts)")
    return url


def is_allowed(url: URL, allow_hosts: Collection[str]) -> bool:
    return (url.host or "").rstrip(".").lower() in {host.strip("[]").rstrip(".").lower() for host in allow_hosts}
