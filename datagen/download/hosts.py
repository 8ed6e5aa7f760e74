"""Which addresses may be contacted, and the address of a video."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import quote, urlsplit


def address(template: str, video: str) -> str:
    """The template with the video's id, percent-encoded but for letters, digits and `_-.~`."""
    return template.replace("{id}", quote(video, safe=""))


def guard(url: str, allow_private: bool, by_proxy: bool) -> str | None:
    """Why an address may not be contacted, or None. With a proxy, names are not looked up here."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "an address that begins with http:// or https:// is expected"
    if allow_private:
        return None
    private = [found for found in _addresses(parts.hostname, by_proxy) if not found.is_global]
    return f"{parts.hostname} is the private address {private[0]}" if private else None


def _addresses(host: str, by_proxy: bool) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    if by_proxy:
        return [ipaddress.ip_address("127.0.0.1")] if host == "localhost" else []
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []  # an unknown name cannot be contacted
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
