"""API keys: who may come in, and for what. Without any key the gateway is open, and then it stays on the loopback interface.

Only SHA-256 hashes are kept. A slow hash is for secrets that people think up; a key of `edgegen keys add` has 256 random
bits, so nobody finds it by trying, however fast the hash; and it is checked at every request.
"""

import base64
import dataclasses
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Iterable, Mapping

from edgegen.core.errors import ConfigError
from edgegen.serve.problems import Problem
from edgegen.serve.quotas import NO_LIMIT, Quota

ENVIRONMENT_NAME = "EDGEGEN_API_KEYS"
LEAST_KEY_CHARACTERS = 16
MARK = "eg"  # what a key of `edgegen keys add` begins with
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/favicon.ico"})
OPEN_PREFIX = "/assets/"  # the page itself holds no secret; what it asks for does
# A picture's id is a secret of 96 bits: a page shows it as <img>, which cannot send a key.
_PICTURE = re.compile(r"/v1/images/img_[0-9a-f]+\.png")

SCOPES = {
    "images": "make pictures",
    "jobs": "order pictures as jobs",
    "plan": "ask what would be decided",
    "observe": "see nodes, requests of everybody, events and metrics",
    "worker": "let machines join as workers",
    "admin": "everything, the usage of all keys included",
}
# The scope that an address needs, by how it begins. What is not listed needs a key and nothing more.
_NEEDED = {
    "/v1/images": "images",
    "/v1/jobs": "jobs",
    "/v1/plan": "plan",
    "/v1/workers": "worker",
    "/v1/nodes": "observe",
    "/v1/requests": "observe",
    "/v1/events": "observe",
    "/metrics": "observe",
}


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who asks, as far as the key tells."""

    id: str  # of the key; "" where nobody needs one
    name: str
    scopes: frozenset[str]
    quota: Quota = NO_LIMIT

    def may(self, scope: str | None) -> bool:
        """Tell whether the key opens what needs a scope."""
        return scope is None or scope in self.scopes or "admin" in self.scopes


EVERYBODY = Caller("", "everybody", frozenset(SCOPES))
CONFIGURED = Caller("configured", "configured", frozenset(SCOPES))  # of the environment or the configuration


@dataclasses.dataclass(frozen=True)
class Entry:
    """A key as it is kept: who it is for, and the hash of its secret."""

    caller: Caller
    sha256: bytes


class Keys:
    """The keys that open the gateway. While there never was one, everybody may come in."""

    def __init__(self, keys: Iterable[str] = ()):
        given = list(keys)
        for key in given:
            if len(key) < LEAST_KEY_CHARACTERS:
                raise ConfigError(f"an API key needs at least {LEAST_KEY_CHARACTERS} characters, got {len(key)}")
        self._hashes = [hash_of(key) for key in given]
        self._entries: dict[str, Entry] = {}
        self._closed = bool(given)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Keys":
        """Return the keys of `EDGEGEN_API_KEYS`, separated by commas."""
        named = environment.get(ENVIRONMENT_NAME, "")
        return cls(part.strip() for part in named.split(",") if part.strip())

    def __bool__(self) -> bool:
        return self._closed

    def replace(self, entries: Iterable[Entry], *, ever: bool) -> None:
        """Take over the keys that are kept elsewhere; `ever` tells whether there ever was one, revoked ones included.

        A gateway whose last key is revoked is closed, not open.
        """
        self._entries = {entry.caller.id: entry for entry in entries}
        self._closed = bool(self._hashes) or ever or self._closed

    def caller(self, account: str) -> Caller:
        """Return who has an account."""
        entry = self._entries.get(account)
        if entry is not None:
            return entry.caller
        known = {known.id: known for known in (EVERYBODY, CONFIGURED)}
        return known.get(account) or Caller(account, account, frozenset())

    def check(self, path: str, authorization: str | None) -> Caller:
        """Let a request in and return whose it is.

        **Raises** `Problem`: 401 when it has no key or a wrong one, 403 when the key is for something else.
        """
        if not self._closed or _is_open(path):
            return EVERYBODY
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise _refusal("no API key was given; send it as 'Authorization: Bearer KEY'", "missing_api_key")
        caller = self._find(key.strip())
        if caller is None:
            raise _refusal("the API key is not one of this gateway's", "invalid_api_key")
        require(caller, scope_of(path))
        return caller

    def _find(self, key: str) -> Caller | None:
        given, found = hash_of(key), None
        # Every configured hash is compared, and in constant time: the answer's delay says nothing about the keys.
        for known in self._hashes:
            if hmac.compare_digest(given, known):
                found = CONFIGURED
        if found is not None:
            return found
        entry = self._entries.get(id_of(key))  # the id in a key is no secret
        if entry is not None and hmac.compare_digest(given, entry.sha256):
            return entry.caller
        return None


def require(caller: Caller, scope: str | None) -> None:
    """Refuse a caller whose key does not open what needs a scope. **Raises** `Problem` 403."""
    if not caller.may(scope):
        have = ", ".join(sorted(caller.scopes))
        text = f"the API key {caller.name!r} is for {have}; this address needs the scope {scope}"
        raise Problem(403, text, code="insufficient_scope")


def new_key() -> tuple[str, str]:
    """Return a new key's id, and the key: its id and 256 random bits."""
    identifier = secrets.token_hex(6)
    secret = base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()
    return identifier, f"{MARK}_{identifier}_{secret}"


def id_of(key: str) -> str:
    """Return the id that a key of `edgegen keys add` contains, or "" for another one."""
    mark, _, rest = key.partition("_")
    return rest.partition("_")[0] if mark == MARK else ""


def hash_of(key: str) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def scope_of(path: str) -> str | None:
    """Return the scope that an address needs; None: any key will do."""
    for beginning, scope in _NEEDED.items():
        if path.startswith(beginning):
            return scope
    return None


def check_binding(host: str, keys: Keys, *, insecure: bool) -> None:
    """Refuse to serve beyond this machine without a key. **Raises** `ConfigError`."""
    if keys or insecure or _is_loopback(host):
        return
    raise ConfigError(
        f"serving on {host!r} lets other machines in without a key; add one with `edgegen keys add` or set "
        f"{ENVIRONMENT_NAME}, serve on 127.0.0.1, or say --insecure if that is what you want"
    )


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX) or _PICTURE.fullmatch(path) is not None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(message: str, code: str) -> Problem:
    return Problem(401, message, code=code, headers={"WWW-Authenticate": "Bearer"})
