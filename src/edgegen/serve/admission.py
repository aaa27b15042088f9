"""Before a picture reaches the dispatcher: its key's quota, and the promises of the waiting queue. After it: the bill."""

from edgegen.core.errors import BusyError
from edgegen.serve.auth import Caller
from edgegen.serve.door import Door
from edgegen.serve.journey import Ticket
from edgegen.serve.keyring import Keyring
from edgegen.serve.passage import Passage
from edgegen.serve.quotas import QuotaError
from edgegen.serve.runtime import Runtime


class Admission:
    """Lets the pictures of one gateway in, whichever route they come by.

    The order: `enter` for all pictures of a request; `follow` for each that was handed to the runtime; `leave` for those
    that were not. Where the runtime says that its queue is full, `full` returns the refusal to answer with.
    """

    def __init__(self, runtime: Runtime, keyring: Keyring, *, max_waiting: int):
        self._runtime, self._keyring, self._door = runtime, keyring, Door(max_waiting)

    @property
    def promised(self) -> int:
        """Places of the waiting queue that are promised."""
        return self._door.promised

    def enter(self, passage: Passage, pictures: int, scope: str) -> None:
        """Let pictures in. **Raises** `BusyError`, which says when to come back; none of them is in then."""
        try:
            self._keyring.begin(passage.caller, pictures)
        except QuotaError as error:
            self._count(passage.caller, scope, error.limit)
            raise
        try:
            waiting = len(self._runtime.dispatcher.waiting)
            self._door.enter(passage.waiter, pictures, waiting, self._runtime.now_s())
        except BusyError:
            self.leave(passage, pictures)
            self._count(passage.caller, scope, "queue")
            raise

    def ask(self, passage: Passage, scope: str, pictures: int = 1) -> None:
        """Let a request that makes no picture now count by its key's rate and window. **Raises** `BusyError`."""
        try:
            self._keyring.begin(passage.caller, pictures)
        except QuotaError as error:
            self._count(passage.caller, scope, error.limit)
            raise
        self.leave(passage, pictures)

    def follow(self, passage: Passage, ticket: Ticket) -> None:
        """Bill a picture when it ends."""
        ticket.done.add_done_callback(lambda _: self._bill(passage.caller, ticket))

    def follow_job(self, account: str, ticket: Ticket) -> None:
        """Bill a picture of a job when it ends; it counts as under way meanwhile, and is not refused: it was accepted."""
        caller = self._keyring.caller(account)
        self._keyring.join(caller)
        ticket.done.add_done_callback(lambda _: self._bill(caller, ticket))

    def _bill(self, caller: Caller, ticket: Ticket) -> None:
        actual, before = ticket.record.actual, ticket.record.before
        if actual is None:
            self._keyring.end(caller)
            return
        energy_j = actual.device_energy_j + actual.node_energy_j + before.energy_j
        cost_usd = actual.money_usd + before.money_usd
        self._keyring.end(caller, energy_j=energy_j, cost_usd=cost_usd, took_s=actual.total_s)
        self._runtime.metrics.count_key(caller.name, energy_j=energy_j, cost_usd=cost_usd)

    def leave(self, passage: Passage, pictures: int) -> None:
        """Take pictures back that entered and were never handed on."""
        for _ in range(pictures):
            self._keyring.end(passage.caller)

    def full(self, passage: Passage, pictures: int, scope: str, error: BusyError) -> BusyError:
        """Return the refusal of pictures that found the queue full: when there is a place for them."""
        self._count(passage.caller, scope, "queue")
        waiting, now_s = len(self._runtime.dispatcher.waiting), self._runtime.now_s()
        return self._door.full(passage.waiter, pictures, waiting, now_s, error.retry_after_s)

    def _count(self, caller: Caller, scope: str, limit: str) -> None:
        self._keyring.refused(caller)
        self._runtime.metrics.throttled.labels(scope, limit).inc()
