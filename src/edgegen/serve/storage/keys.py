"""Keys and what they took, in SQL. Of a key only the SHA-256 is kept; usage is summed per key and hour."""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, Column, Double, Integer, Table, Text, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.serve.auth import SCOPES, Caller, Entry, hash_of, new_key
from edgegen.serve.quotas import Quota
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.metadata import METADATA

HOUR_S = 3600

keys = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("quota", JSON, nullable=False),  # fields of `Quota` that are limits
    Column("created_s", Double, nullable=False),
    Column("revoked_s", Double),
)

usage = Table(
    "usage",
    METADATA,
    Column("key_id", Text, primary_key=True),  # or "configured", or "" where nobody needs a key
    Column("hour", Integer, primary_key=True),  # since 1970
    Column("requests", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("pictures", Integer, nullable=False),  # finished
    Column("energy_j", Double, nullable=False),  # of devices and nodes
    Column("cost_usd", Double, nullable=False),
)
FIGURES = ("requests", "refused", "pictures", "energy_j", "cost_usd")


@dataclasses.dataclass(frozen=True)
class Kept:
    """A key as it is listed."""

    id: str
    name: str
    scopes: tuple[str, ...]
    quota: dict[str, float]
    created_s: float
    revoked_s: float | None


class KeyStore:
    """The keys of one database."""

    def __init__(self, database: Database):
        self._database = database

    async def add(self, name: str, scopes: Iterable[str], quota: Quota) -> tuple[Kept, str]:
        """Make a key and return it, with the text that is shown once and kept nowhere.

        **Raises** `InputError` when a key that is not revoked has the name already.
        """
        chosen = tuple(sorted(set(scopes)))
        for scope in chosen:
            if scope not in SCOPES:
                raise UnknownNameError("scope", scope, SCOPES, param="scope")
        if not chosen or not name.strip() or len(name) > 64:
            raise InputError("a key needs a name of 1 to 64 characters and at least one scope", param="name")
        identifier, text = new_key()
        limits = {field.name: getattr(quota, field.name) for field in dataclasses.fields(quota)}
        limits = {key: value for key, value in limits.items() if value != float("inf")}
        kept = Kept(identifier, name, chosen, limits, time.time(), None)
        row = {**dataclasses.asdict(kept), "scopes": list(chosen), "sha256": hash_of(text).hex()}
        async with self._database.writing() as connection:
            taken = select(keys.c.id).where(keys.c.name == name, keys.c.revoked_s.is_(None))
            if (await connection.execute(taken)).first():
                raise InputError(f"there is a key named {name!r} already; revoke it first or choose another name")
            await connection.execute(insert(keys).values(row))
        return kept, text

    async def revoke(self, name: str) -> Kept:
        """Revoke the key with this name or id. **Raises** `UnknownNameError`."""
        async with self._database.writing() as connection:
            rows = (await connection.execute(select(keys).where(keys.c.revoked_s.is_(None)))).mappings().all()
            row = next((row for row in rows if name in (row["name"], row["id"])), None)
            if row is None:
                raise UnknownNameError("key", name, [row["name"] for row in rows], param="name")
            now_s = time.time()
            await connection.execute(update(keys).where(keys.c.id == row["id"]).values(revoked_s=now_s))
        return dataclasses.replace(_kept(row), revoked_s=now_s)

    async def all(self) -> list[Kept]:
        """Return every key, the oldest first."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(keys).order_by(keys.c.created_s))).mappings().all()
        return [_kept(row) for row in rows]

    async def entries(self) -> tuple[list[Entry], bool]:
        """Return the keys that open something, and whether there ever was one."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(keys))).mappings().all()
        return [_entry(row) for row in rows if row["revoked_s"] is None], bool(rows)

    async def version(self) -> tuple:
        """Return what is another one after keys were added or revoked."""
        wanted = select(func.count(), func.max(keys.c.created_s), func.max(keys.c.revoked_s)).select_from(keys)
        async with self._database.reading() as connection:
            return tuple((await connection.execute(wanted)).one())

    async def book(self, sums: Mapping[tuple[str, int], Sequence[float]]) -> None:
        """Add figures, in the order of `FIGURES`, to what keys took in hours; all of them or none."""
        kind = sqlite.insert if self._database.is_sqlite else postgresql.insert
        rows = [
            {"key_id": key, "hour": hour, **dict(zip(FIGURES, figures, strict=True))}
            for (key, hour), figures in sums.items()
        ]
        if not rows:
            return
        adding = kind(usage)
        more = {name: usage.c[name] + adding.excluded[name] for name in FIGURES}
        async with self._database.writing() as connection:
            await connection.execute(adding.on_conflict_do_update(index_elements=["key_id", "hour"], set_=more), rows)

    async def taken(self, since_s: float) -> list[dict[str, Any]]:
        """Return what every key took since the hour of a moment: one row per key with its sums."""
        sums = [func.sum(usage.c[name]).label(name) for name in FIGURES]
        wanted = (
            select(usage.c.key_id, keys.c.name, *sums)
            .select_from(usage.outerjoin(keys, keys.c.id == usage.c.key_id))
            .where(usage.c.hour >= int(since_s // HOUR_S))
            .group_by(usage.c.key_id, keys.c.name)
            .order_by(usage.c.key_id)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(wanted)).mappings().all()
        return [{**row, "name": row["name"] or row["key_id"] or "everybody"} for row in rows]


def _kept(row: Mapping) -> Kept:
    return Kept(row["id"], row["name"], tuple(row["scopes"]), row["quota"], row["created_s"], row["revoked_s"])


def _entry(row: Mapping) -> Entry:
    caller = Caller(row["id"], row["name"], frozenset(row["scopes"]), Quota(**row["quota"]))
    return Entry(caller, bytes.fromhex(row["sha256"]))
