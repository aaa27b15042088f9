"""Webhooks: an outbox in the database, a signature, and only addresses that the configuration names.

A row of the outbox is written in the transaction that ends the job, so the message exists exactly when the end does. It
is delivered at least once; its id is the same every time. Headers and signature are those of Standard Webhooks
(standardwebhooks.com): HMAC-SHA256 over "ID.TIMESTAMP.BODY".
"""

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from edgegen.core.errors import ConfigError, InputError
from edgegen.serve.jobs.records import End
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.tables import results, webhooks

SECRET_NAME = "EDGEGEN_WEBHOOK_SECRET"
LEAST_SECRET_BYTES = 24
MAX_TRIES = 12  # with the waits below: for about a day and a half
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 6 * 3600.0


class Targets:
    """The addresses that may be told, and the secret that signs."""

    def __init__(self, allowed: Sequence[str], secret: bytes):
        self._allowed = [_target(text) for text in allowed]
        self._secret = secret

    def __bool__(self) -> bool:
        return bool(self._allowed)

    @classmethod
    def of(cls, allowed: Sequence[str], environment: Mapping[str, str] = os.environ) -> "Targets":
        """Return those of a configuration, with the environment's secret. **Raises** `ConfigError`."""
        given = environment.get(SECRET_NAME, "")
        if allowed and not given:
            raise ConfigError(f"jobs.webhooks needs a secret to sign with; set {SECRET_NAME} to 'whsec_' and base64")
        return cls(allowed, _secret(given) if given else b"")

    def check(self, url: str) -> str:
        """Return a webhook that may be told. **Raises** `InputError`."""
        if not self._allowed:
            raise InputError("this gateway tells nobody; its configuration names no jobs.webhooks", param="webhook")
        try:
            asked = _parts(url)
        except ValueError as error:
            raise InputError(f"webhook {error}", param="webhook") from None
        if not any(asked[:3] == base[:3] and _is_within(asked[3], base[3]) for base in self._allowed):
            raise InputError(
                "webhook is not an address that this gateway may tell; jobs.webhooks of its configuration says which",
                param="webhook",
            )
        return url

    def headers(self, message_id: str, body: str, now_s: float) -> dict[str, str]:
        """Return the headers of a message: its id, the time, and what only we could have written."""
        stamp = str(int(now_s))
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": stamp,
            "webhook-signature": signature(self._secret, message_id, stamp, body),
        }


def signature(secret: bytes, message_id: str, stamp: str, body: str) -> str:
    """Return the value of `webhook-signature`."""
    made = hmac.new(secret, f"{message_id}.{stamp}.{body}".encode(), hashlib.sha256).digest()
    return "v1," + base64.b64encode(made).decode()


def wait_s(tries: int) -> float:
    """Return how long to wait after so many tries; half of it is chance, so that not all come back at once."""
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 3.0 ** (tries - 1))
    return longest * (0.5 + secrets.randbelow(1000) / 2000)


async def outbox_row(connection: AsyncConnection, job_id: str, end: End, job: Any, now_s: float) -> dict[str, Any]:
    """Return the row that tells how a job ended; pictures are told by their address."""
    found = await connection.execute(
        select(results.c.item).where(results.c.job_id == job_id).order_by(results.c.picture)
    )
    at = dt.datetime.fromtimestamp(now_s, dt.UTC)
    data = {
        "id": job_id,
        "status": end.status,
        "created_at": job.created_s,
        "ended_at": now_s,
        "error": end.error,
        "items": list(found.scalars()),
    }
    body = {"type": f"job.{end.status}", "timestamp": at.isoformat(), "data": data}
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "job_id": job_id,
        "url": job.webhook,
        "body": json.dumps(body, separators=(",", ":")),
        "tries": 0,
        "next_s": now_s,
    }


class Outbox:
    """The messages that are still to be delivered. Whoever takes one has it for a while; then another may try."""

    def __init__(self, database: Database):
        self._database = database

    async def take(self, now_s: float, hold_s: float, limit: int) -> list[Row[Any]]:
        """Take messages that are due."""
        due = select(webhooks.c.id).where(webhooks.c.next_s <= now_s).order_by(webhooks.c.next_s).limit(limit)
        async with self._database.reading() as connection:
            if not (await connection.execute(due)).first():
                return []
        async with self._database.writing() as connection:
            ids = list((await connection.execute(due.with_for_update(skip_locked=True))).scalars())
            mine = update(webhooks).where(webhooks.c.id.in_(ids))
            taken = mine.values(next_s=now_s + hold_s, tries=webhooks.c.tries + 1).returning(webhooks)
            return list((await connection.execute(taken)).all())

    async def delivered(self, message_id: str, now_s: float) -> None:
        """Note that a message was taken."""
        await self._note(message_id, next_s=None, delivered_s=now_s, trouble=None)

    async def failed(self, message: Row[Any], trouble: str, now_s: float) -> None:
        """Note what was wrong, and try again later, or no more."""
        again = None if message.tries >= MAX_TRIES else now_s + wait_s(message.tries)
        await self._note(message.id, next_s=again, trouble=trouble[:300])

    async def _note(self, message_id: str, **values: Any) -> None:
        async with self._database.writing() as connection:
            await connection.execute(update(webhooks).where(webhooks.c.id == message_id).values(**values))


def _secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{SECRET_NAME}: expected 'whsec_' and base64") from None
    if len(secret) < LEAST_SECRET_BYTES:
        raise ConfigError(f"{SECRET_NAME} needs at least {LEAST_SECRET_BYTES} bytes, got {len(secret)}")
    return secret


def _target(text: str) -> tuple[str, str, int, str]:
    try:
        return _parts(text)
    except ValueError as error:
        raise ConfigError(f"jobs.webhooks {text!r} {error}") from None


def _parts(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path of an address. **Raises** `ValueError` with what is wrong about it."""
    address = urlsplit(url)
    port = address.port or {"https": 443, "http": 80}.get(address.scheme)
    if port is None or not address.hostname:
        raise ValueError("should be an address that begins with https:// or http://")
    if address.username is not None or address.password is not None or address.fragment:
        raise ValueError("should have no user, password or fragment")
    path = unquote(unquote(address.path))
    if any(sign in url for sign in "\\ \t\r\n") or ".." in path or not (url.isascii() and url.isprintable()):
        raise ValueError("should have no '..', blanks or backslashes")
    return address.scheme, address.hostname.lower(), port, address.path or "/"


def _is_within(path: str, base: str) -> bool:
    return path == base or path.startswith(base if base.endswith("/") else f"{base}/")
