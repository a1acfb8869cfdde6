"""Clients and their keys: what the gateway's map files hold.

Only SHA-256 digests of keys reach the disk. A digest of a long random key tells nothing about it; one of a short key
can be guessed, so short keys are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .errors import GatewayError

MINIMUM_KEY_CHARACTERS = 32
# HAProxy counts requests in tables whose entries are so long as this, a minute and some room.
LONGEST_NAME = 48
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# The characters of a bearer token, RFC 6750 section 2.1.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
DIGEST = re.compile(r"[0-9a-f]{64}")
EVERY_MODEL = "*"


@dataclass(frozen=True)
class Maps:
    """The text of HAProxy's two map files, one entry a line.

    digests   digest → client/key name/end of the key's life/requests per minute/concurrent requests;
              the end is in seconds since the epoch; 0 is no end and no limit
    routes    client|model → backend, and |model → backend for what exists at all
    """

    digests: str
    routes: str


def maps(clients: Sequence[Mapping[str, Any]], backends: Mapping[str, str]) -> Maps:
    """Return the maps for clients (name, keys, models, requests_per_minute, concurrent_requests).

    backends names the HAProxy backend of every model. Raises GatewayError for whatever would let in somebody else or
    nobody.
    """
    served = sorted(backends)
    keys: dict[str, str] = {}
    routes = [f"|{model} {backends[model]}" for model in served]
    seen: set[str] = set()
    for client in clients:
        name = _checked_name(client["name"], "the client name")
        if name in seen:
            raise GatewayError(f"gateway_clients: the client {name!r} stands there twice")
        seen.add(name)
        limits = "/".join(
            str(_limit(client, name, option)) for option in ("requests_per_minute", "concurrent_requests")
        )
        for digest, key_name, expiry in _keys_of(client, name):
            if digest in keys:
                other = "/".join(keys[digest].split("/")[:2])
                raise GatewayError(f"gateway_clients: {name}/{key_name} is the same key as {other}")
            keys[digest] = f"{name}/{key_name}/{expiry}/{limits}"
        routes += [f"{name}|{model} {backends[model]}" for model in _models_of(client, name, served)]
    return Maps(
        digests=_lines(f"{digest} {value}" for digest, value in sorted(keys.items())),
        routes=_lines(routes),
    )


def _lines(entries: Iterable[str]) -> str:
    return "".join(f"{entry}\n" for entry in entries)


def _checked_name(name: Any, what: str) -> str:
    if not NAME.fullmatch(str(name)):
        raise GatewayError(f"gateway_clients: {what} {str(name)!r} is not made of letters, digits and . _ - alone")
    if len(str(name)) > LONGEST_NAME:
        raise GatewayError(
            f"gateway_clients: {what} {str(name)!r} has {len(str(name))} characters; expected at most {LONGEST_NAME}"
        )
    return str(name)


def _keys_of(client: Mapping[str, Any], client_name: str) -> list[tuple[str, str, int]]:
    entries = []
    names: set[str] = set()
    for key in client.get("keys") or []:
        name = _checked_name(key["name"], f"the name of a key of {client_name}:")
        if name in names:
            raise GatewayError(f"gateway_clients: {client_name} has two keys named {name!r}")
        names.add(name)
        entries.append((_digest(key, f"{client_name}/{name}"), name, _expiry(key, f"{client_name}/{name}")))
    return entries


def _digest(key: Mapping[str, Any], who: str) -> str:
    plain, digest = key.get("key"), key.get("sha256")
    if bool(plain) == bool(digest):
        raise GatewayError(f"gateway_clients: {who} needs either key or sha256, and not both")
    if digest:
        if not DIGEST.fullmatch(str(digest).lower()):
            raise GatewayError(f"gateway_clients: the sha256 of {who} is not 64 hexadecimal digits")
        return str(digest).lower()
    text = str(plain)
    if len(text) < MINIMUM_KEY_CHARACTERS or not TOKEN.fullmatch(text):
        raise GatewayError(
            f"gateway_clients: the key of {who} has {len(text)} characters or some that a bearer token may not have; "
            f"expected at least {MINIMUM_KEY_CHARACTERS} random ones out of A-Z a-z 0-9 . _ ~ + / - "
            "(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')"
        )
    return hashlib.sha256(text.encode()).hexdigest()


def _expiry(key: Mapping[str, Any], who: str) -> int:
    """Return the end of a key's life in seconds since the epoch, or 0 for none. A date is its first moment, UTC."""
    text = key.get("expires")
    if text in (None, ""):
        return 0
    try:
        at = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise GatewayError(
            f"gateway_clients: expires of {who} is {str(text)!r}; expected 2027-01-31 or 2027-01-31T12:00:00Z"
        ) from None
    # An end at or before the epoch is an end all the same, which 0 would not be.
    return max(1, int((at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()))


def _models_of(client: Mapping[str, Any], name: str, served: list[str]) -> list[str]:
    wanted = client.get("models")
    if wanted is None or EVERY_MODEL in wanted:
        return served
    unknown = sorted(set(wanted) - set(served))
    if unknown:
        raise GatewayError(
            f"gateway_clients: {name} may use {', '.join(unknown)}, which no host serves; served are: "
            f"{', '.join(served) or 'none'}"
        )
    return [model for model in served if model in wanted]


def _limit(client: Mapping[str, Any], name: str, option: str) -> int:
    value = int(client.get(option) or 0)
    if value < 0:
        raise GatewayError(f"gateway_clients: {option} of {name} is {value}; expected 0 (no limit) or more")
    return value
