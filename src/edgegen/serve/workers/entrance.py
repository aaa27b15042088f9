"""Who may join as a node's worker: once with a token that somebody asked for, afterwards with a secret of its own.

Only hashes are kept: of tokens in memory, of secrets in a file, so that machines find back to a gateway that was started
again. A node has one secret at a time; joining with a new token ends the old one.
"""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgegen.core.errors import ConfigError

TOKEN_S = 600.0
MAX_TOKENS = 64  # waiting at a time; the oldest gives way


class Entrance:
    """The tokens and secrets of one gateway. Without a path, secrets last as long as the gateway does."""

    def __init__(self, path: str | Path | None = None, *, clock: Callable[[], float] = time.monotonic):
        self._path, self._clock = Path(path) if path else None, clock
        self._tokens: dict[str, tuple[str, float]] = {}  # by hash: the node, until when
        self._secrets: dict[str, str] = self._read()

    def issue(self, node: str) -> str:
        """Return a token with which one machine may join as this node, once and within `TOKEN_S`."""
        token = f"join_{secrets.token_urlsafe(24)}"
        self._forget()
        while len(self._tokens) >= MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[_hash(token)] = (node, self._clock() + TOKEN_S)
        return token

    def redeem(self, token: str) -> tuple[str, str] | None:
        """Return the node of a token and the new secret of whoever holds it, or None. A token works once."""
        self._forget()
        found = self._tokens.pop(_hash(token), None)
        if found is None:
            return None
        secret = f"worker_{secrets.token_urlsafe(32)}"
        self._secrets[found[0]] = _hash(secret)
        self._write()
        return found[0], secret

    def recognises(self, node: str, secret: str) -> bool:
        """Tell whether this is the secret of the node's worker."""
        return hmac.compare_digest(self._secrets.get(node, ""), _hash(secret))

    def _forget(self) -> None:
        now_s = self._clock()
        self._tokens = {token: entry for token, entry in self._tokens.items() if entry[1] > now_s}

    def _read(self) -> dict[str, str]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            kept: Any = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(node): str(known) for node, known in kept["workers"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{self._path} is no list of joined workers: {error}; remove it, and let the workers join again"
            ) from None

    def _write(self) -> None:
        if self._path is not None:
            write_private(self._path, {"workers": self._secrets})


def write_private(path: Path, value: Any) -> None:
    """Write JSON that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # of mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
