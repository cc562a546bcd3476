"""Judges addresses that users name: which this server may call. Knows no connection.

Refused is all that is not the public internet: what a request from here reaches and its sender could not (loopback,
private and link-local networks, clouds' metadata services), and what embeds such an address. The networks are IANA's
special-purpose registries (RFC 6890 and its updates); `--allow-outbound` opens some of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from executor.errors import AddressRefused, BadInput

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL = 4096
SCHEMES = ("http", "https")
LEAST_FREE_PORT = 1024
"""Below it only the ports of HTTP are called: the others belong to services that a request could be smuggled into."""
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_NUMBER = re.compile(r"\d+|0[xX][0-9a-fA-F]*")

_TABLE = {
    "0.0.0.0/8": "means this machine",
    "10.0.0.0/8": "is of a private network",
    "100.64.0.0/10": "is of a provider's inner network",
    "127.0.0.0/8": "is this machine's loopback",
    "168.63.129.16/32": "is a service of a cloud's own",
    "169.254.0.0/16": "is link-local, where clouds tell their secrets",
    "172.16.0.0/12": "is of a private network",
    "192.0.0.0/24": "is reserved",
    "192.0.2.0/24": "is reserved for documentation",
    "192.88.99.0/24": "is a relay into another network",
    "192.168.0.0/16": "is of a private network",
    "198.18.0.0/15": "is reserved for measurements",
    "198.51.100.0/24": "is reserved for documentation",
    "203.0.113.0/24": "is reserved for documentation",
    "224.0.0.0/4": "is a multicast address",
    "240.0.0.0/4": "is reserved",
    "2001::/23": "is reserved or a tunnel",
    "2001:db8::/32": "is reserved for documentation",
    "2002::/16": "is a tunnel into another network",
    "3fff::/20": "is reserved for documentation",
}
_REFUSED = tuple((ipaddress.ip_network(network), why) for network, why in _TABLE.items())
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_MAPPED = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""IPv6 addresses that lead to the IPv4 address in their last 32 bits: mapped ones, and NAT64 (RFC 6052)."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What `--allow-outbound` opens beside the public internet."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    def has(self, host: str, address: Address) -> bool:
        """Tell whether a host of that name, or that address, was opened."""
        return plain_name(host) in self.names or any(
            address in network for network in self.networks if network.version == address.version
        )


def opened(entries: Iterable[str]) -> Opened:
    """What the entries of `--allow-outbound` open: addresses, networks (10.1.0.0/16) and host names; else BadInput."""
    networks: list[Network] = []
    names: list[str] = []
    for entry in entries:
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError as error:
            if not re.fullmatch(r"[\w.-]+", entry) or _ends_in_number(entry):
                raise BadInput(
                    f"--allow-outbound {entry}: that is no host name, address or network such as 10.1.0.0/16"
                ) from error
            names.append(plain_name(entry))
    return Opened(tuple(networks), frozenset(names))


def read_url(text: str) -> URL:
    """A URL that may be called as far as its text tells; AddressRefused says what is wrong with it."""
    if len(text) > LONGEST_URL or _FORBIDDEN.search(text):
        raise AddressRefused(f"the address is longer than {LONGEST_URL} characters, or holds spaces or backslashes")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError as error:
        raise AddressRefused(f"the address cannot be read: {error}") from error
    if url.scheme not in SCHEMES or not host:
        raise AddressRefused(f"an address begins with http:// or https:// and names a host, not {text[:40]!r}")
    if url.raw_user is not None or url.raw_password is not None:
        raise AddressRefused(f"the address of {host} holds a user name or password; such are not sent")
    if port == 0 or (port is not None and port < LEAST_FREE_PORT and port not in (80, 443)):
        raise AddressRefused(f"port {port} of {host} is not called: only 80, 443, and {LEAST_FREE_PORT} or higher")
    if literal(host) is None and _ends_in_number(host):
        raise AddressRefused(f"{host}: an IPv4 address is written as four decimal numbers")
    return url


def literal(host: str) -> Address | None:
    """The address that a host is written as; None for a name. A zone (`fe80::1%eth0`) is part of the address."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def refusal(address: Address) -> str | None:
    """Why an address is not called, as the end of a sentence; None for one of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _MAPPED):
            return refusal(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _PUBLIC_6:
            return "is this machine's loopback" if address.is_loopback else "is of no public network"
    found = (why for network, why in _REFUSED if network.version == address.version and address in network)
    return next(found, None)


def plain_name(host: str) -> str:
    """A host name without its dot at the end, in small letters."""
    return host.lower().removesuffix(".")


def origin(url: URL | str) -> str:
    """Scheme, host and port of a URL: what may be logged of it, for the rest may hold secrets."""
    try:
        return str(URL(url).origin())
    except ValueError:
        return "an address"


def _ends_in_number(host: str) -> bool:
    """Tell whether systems may read a host as an IPv4 address in an odd spelling (WHATWG URL, "ends in a number")."""
    return _NUMBER.fullmatch(plain_name(host).rpartition(".")[2]) is not None
