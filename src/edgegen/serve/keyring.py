"""The keys while the gateway runs: their accounts, what is not booked yet, and news from the database.

A key that is added or revoked anywhere is known here within `EVERY_S`. Nobody waits for the database: what keys take is
summed here and booked in one transaction now and then; when the database is away, it is booked once it is back.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from edgegen.serve.auth import Caller, Keys
from edgegen.serve.quotas import Account
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.keys import FIGURES, HOUR_S, KeyStore

log = structlog.get_logger(__name__)

EVERY_S = 1.0
Figures = list[float]


class Keyring:
    """Accounts by key. Without a database only the configured keys open, and nothing is booked."""

    def __init__(self, keys: Keys, database: Database | None = None, *, clock: Callable[[], float] = time.time):
        self.keys, self._clock = keys, clock
        self.store = KeyStore(database) if database is not None else None
        self._accounts: dict[str, Account] = {}
        self._unbooked: dict[tuple[str, int], Figures] = {}
        self._totals: dict[str, Figures] = {}  # since the start, for whoever looks
        self._names: dict[str, str] = {}
        self._version: tuple = ()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Learn the keys and what they took in their present windows; the database is open already."""
        if self.store is not None:
            await self._learn()
            self._task = asyncio.create_task(self._follow(), name="keyring")

    async def close(self) -> None:
        """Book what is left. Closing twice is fine."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            await self._book()

    # what callers do

    def begin(self, caller: Caller, pictures: int) -> None:
        """Let pictures of a caller begin. **Raises** `QuotaError`; nothing has begun then."""
        self._figures(caller)[0] += 1
        self._totals_of(caller)[0] += 1
        self._account(caller).take(pictures, self._clock())

    def caller(self, account: str) -> Caller:
        """Return whose account it is; one whose key was revoked has a name only."""
        return self.keys.caller(account)

    def join(self, caller: Caller) -> None:
        """Let a picture begin that was accepted before."""
        self._account(caller).under_way += 1

    def refused(self, caller: Caller) -> None:
        """Count a request that was answered with 429."""
        self._figures(caller)[1] += 1
        self._totals_of(caller)[1] += 1

    def end(self, caller: Caller, *, energy_j: float = 0.0, cost_usd: float = 0.0, took_s: float | None = None) -> None:
        """Let one picture of a caller end; `took_s` is None when it was never made."""
        self._account(caller).give(self._clock(), energy_j=energy_j, cost_usd=cost_usd, took_s=took_s)
        for figures in (self._figures(caller), self._totals_of(caller)):
            figures[2] += took_s is not None
            figures[3] += energy_j
            figures[4] += cost_usd

    def totals(self, caller: Caller) -> list[dict]:
        """Return what keys took since the start: all of them for those who may see that, otherwise the caller's own."""
        shown = self._totals if caller.may("admin") or caller.may("observe") else {caller.id: self._totals_of(caller)}
        return [
            {"key": self._names.get(key, caller.name), **dict(zip(FIGURES, figures, strict=True)),
             "under_way": self._accounts[key].under_way if key in self._accounts else 0}
            for key, figures in shown.items()
        ]  # fmt: skip

    def _account(self, caller: Caller) -> Account:
        account = self._accounts.get(caller.id)
        if account is None:
            account = self._accounts[caller.id] = Account(caller.quota)
        return account

    def _figures(self, caller: Caller) -> Figures:
        if self.store is None:
            return [0.0] * len(FIGURES)  # nobody will ask
        return self._unbooked.setdefault((caller.id, int(self._clock() // HOUR_S)), [0.0] * len(FIGURES))

    def _totals_of(self, caller: Caller) -> Figures:
        self._names[caller.id] = caller.name
        return self._totals.setdefault(caller.id, [0.0] * len(FIGURES))

    # the database

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            with contextlib.suppress(SQLAlchemyError, OSError):
                await self._learn()
            await self._book()

    async def _learn(self) -> None:
        """Take over the keys when there are others than before, and what the new ones took in their windows."""
        assert self.store is not None
        version = await self.store.version()
        if version == self._version:
            return
        entries, ever = await self.store.entries()
        for entry in entries:
            caller = entry.caller
            if caller.id not in self._accounts:
                self._accounts[caller.id] = Account(caller.quota)
                await self._remember(caller)
        self.keys.replace(entries, ever=ever)
        known = {entry.caller.id for entry in entries} | {"", "configured"}
        for key in [key for key, account in self._accounts.items() if key not in known and not account.under_way]:
            del self._accounts[key]
        self._version = version

    async def _remember(self, caller: Caller) -> None:
        """Count what a key took in its present window before this gateway began."""
        assert self.store is not None
        window = int(self._clock() // caller.quota.window_s)
        for row in await self.store.taken(window * caller.quota.window_s):
            if row["key_id"] == caller.id:
                self._accounts[caller.id].book(window, row["energy_j"], row["cost_usd"])

    async def _book(self) -> None:
        sums, self._unbooked = self._unbooked, {}
        if self.store is None or not sums:
            return
        try:
            await self.store.book(sums)
        except (SQLAlchemyError, OSError) as error:
            log.warning("usage cannot be booked now and is kept", error=type(error).__name__)
            for at, figures in sums.items():
                later = self._unbooked.setdefault(at, [0.0] * len(FIGURES))
                self._unbooked[at] = [a + b for a, b in zip(figures, later, strict=True)]
