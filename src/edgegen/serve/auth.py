"""API keys. Only hashes are kept; without any key the gateway is open, and then it stays on the loopback interface."""

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping

from edgegen.core.errors import ConfigError
from edgegen.serve.problems import Problem

ENVIRONMENT_NAME = "EDGEGEN_API_KEYS"
LEAST_KEY_CHARACTERS = 16
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/favicon.ico"})
OPEN_PREFIX = "/assets/"  # the page itself holds no secret; what it asks for does
# A picture's id is a secret of 96 bits: a page shows it as <img>, which cannot send a key.
_PICTURE = re.compile(r"/v1/images/img_[0-9a-f]+\.png")


class Keys:
    """The keys that open the gateway, as SHA-256 hashes. Empty: everybody may come in."""

    def __init__(self, keys: Iterable[str] = ()):
        given = list(keys)
        for key in given:
            if len(key) < LEAST_KEY_CHARACTERS:
                raise ConfigError(f"an API key needs at least {LEAST_KEY_CHARACTERS} characters, got {len(key)}")
        self._hashes = [_hash(key) for key in given]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Keys":
        """Return the keys of `EDGEGEN_API_KEYS`, separated by commas."""
        named = environment.get(ENVIRONMENT_NAME, "")
        return cls(part.strip() for part in named.split(",") if part.strip())

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def check(self, path: str, authorization: str | None) -> None:
        """Let a request in. **Raises** `Problem` (401) when it has no key or a wrong one."""
        if not self._hashes or _is_open(path):
            return
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise _refusal("no API key was given; send it as 'Authorization: Bearer KEY'", "missing_api_key")
        given = _hash(key.strip())
        # Every known hash is compared, and in constant time: the answer's delay says nothing about the keys.
        matches = [hmac.compare_digest(given, known) for known in self._hashes]
        if not any(matches):
            raise _refusal("the API key is not one of this gateway's", "invalid_api_key")


def check_binding(host: str, keys: Keys, *, insecure: bool) -> None:
    """Refuse to serve beyond this machine without a key. **Raises** `ConfigError`."""
    if keys or insecure or _is_loopback(host):
        return
    raise ConfigError(
        f"serving on {host!r} lets other machines in without a key; set {ENVIRONMENT_NAME}, "
        "serve on 127.0.0.1, or say --insecure if that is what you want"
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


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _refusal(message: str, code: str) -> Problem:
    return Problem(401, message, code=code, headers={"WWW-Authenticate": "Bearer"})
