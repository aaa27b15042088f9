"""What one API key may take: pictures per second, pictures at once, energy and money per window. Pure: the clock is given.

The rate is the generic cell rate algorithm (ITU-T I.371): one number per key, the moment until which what was let in is
paid for. Who is refused is told when there is room for it, after everybody who was told a moment before, and nobody else
is let in before those come back: so who waits as it is told gets in. The gateway's waiting queue keeps its word in the
same way (`serve.door`).
"""

import collections
import dataclasses
import math
from typing import Literal

from edgegen.core.errors import BusyError, InputError

Limit = Literal["rate", "concurrent", "energy", "cost"]
DAY_S = 86_400.0
FIRST_GUESS_S = 1.0  # how long a picture of a key takes whose first one has not ended
MAX_PROMISES = 64
KEPT_S = 2.0  # for so long after the moment that was told a place is kept
_WEIGHT = 0.2  # of the latest picture in the means of a key
_SLACK_S = 1e-6  # sums of seconds may miss a moment by rounding


class QuotaError(BusyError):
    """A key has used up what it may take. `limit` says of what."""

    def __init__(self, message: str, *, limit: Limit, retry_after_s: float):
        super().__init__(message, retry_after_s=retry_after_s)
        self.limit = limit


@dataclasses.dataclass(frozen=True)
class Quota:
    """What a key may take. Infinity means no limit."""

    rate_per_s: float = math.inf  # pictures, on average
    burst: float = 8.0  # pictures that may come at once, when none came before
    concurrent: float = math.inf  # pictures under way
    energy_j: float = math.inf  # per window, of devices and nodes together
    cost_usd: float = math.inf  # per window
    window_s: float = DAY_S  # windows begin at whole multiples of this on the clock

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise InputError(f"a quota's {field.name} must be > 0, got {value!r}; leave it out for no limit")
        if self.concurrent < 1 or self.burst < 1:
            raise InputError("a key may have at least one picture at once; revoke it if it is to have none")


NO_LIMIT = Quota()


class Promises:
    """The moments at which some who were refused were told to come back. Nobody else is let in before them.

    Who comes cannot be told from who was promised something: the first to come after a promised moment redeems it.
    """

    def __init__(self, most: int = MAX_PROMISES) -> None:
        self._due: collections.deque[float] = collections.deque()  # rising
        self._most = most

    def __len__(self) -> int:
        return len(self._due)

    def let_in(self, now_s: float) -> bool:
        """Tell whether somebody who comes now may take what is free, and count a promise as kept that was due."""
        self.forget(now_s)
        if not self._due:
            return True
        if self._due[0] > now_s + _SLACK_S:
            return False
        self._due.popleft()
        return True

    def add(self, now_s: float, at_s: float) -> float:
        """Promise a moment from `at_s` on, after all others, in whole seconds from now; return it.

        Past the bound the moment is told, but nothing is kept for it.
        """
        last_s = self._due[-1] if self._due else -math.inf
        due_s = now_s + whole_s(max(at_s, last_s) - now_s)
        if len(self._due) < self._most:
            self._due.append(due_s)
        return due_s

    def forget(self, now_s: float) -> None:
        """Forget those who did not come."""
        while self._due and self._due[0] + KEPT_S < now_s:
            self._due.popleft()


@dataclasses.dataclass
class Account:
    """What one key has taken. Its size does not depend on how much that is."""

    quota: Quota
    paid_until_s: float = -math.inf  # by the rate
    promised_until_s: float = -math.inf  # what is paid for once everybody came back who was told when
    promises: Promises = dataclasses.field(default_factory=Promises)
    under_way: int = 0  # pictures
    window: int = 0  # number of the present window
    energy_j: float = 0.0  # in it
    cost_usd: float = 0.0  # in it
    mean_energy_j: float = 0.0  # of a picture
    mean_cost_usd: float = 0.0
    mean_s: float = FIRST_GUESS_S  # from its begin to its end
    next_end_s: float = 0.0  # when one of those under way is expected to end

    def take(self, pictures: int, now_s: float) -> None:
        """Let pictures begin.

        **Raises** `QuotaError` when there is no room for them, and `InputError` when there never will be. Nothing is
        taken then.
        """
        quota = self.quota
        most = min(quota.concurrent, quota.burst if math.isfinite(quota.rate_per_s) else math.inf)
        if pictures > most:
            raise InputError(f"this API key may have {most:g} pictures at once, got n = {pictures}", param="n")
        self._turn(now_s)
        self._check_window(now_s)
        self._check_concurrent(pictures, now_s)
        self._check_rate(pictures, now_s)
        if math.isfinite(quota.rate_per_s):
            self.paid_until_s = max(self.paid_until_s, now_s) + pictures / quota.rate_per_s
        if self.under_way == 0:
            self.next_end_s = now_s + self.mean_s
        self.under_way += pictures

    def give(self, now_s: float, *, energy_j: float = 0.0, cost_usd: float = 0.0, took_s: float | None = None) -> None:
        """Let one picture end, and book what it took; `took_s` is None for one that was never made."""
        self._turn(now_s)
        self.under_way = max(0, self.under_way - 1)
        self.energy_j += energy_j
        self.cost_usd += cost_usd
        if took_s is not None:
            self.mean_energy_j += _WEIGHT * (energy_j - self.mean_energy_j)
            self.mean_cost_usd += _WEIGHT * (cost_usd - self.mean_cost_usd)
            self.mean_s += _WEIGHT * (took_s - self.mean_s)
        self.next_end_s = now_s + self.mean_s / max(1, self.under_way)

    def book(self, window: int, energy_j: float, cost_usd: float) -> None:
        """Count what was taken in a window before this account was opened, as after a restart."""
        if window > self.window:
            self.window, self.energy_j, self.cost_usd = window, 0.0, 0.0
        if window == self.window:
            self.energy_j += energy_j
            self.cost_usd += cost_usd

    def _turn(self, now_s: float) -> None:
        window = int(now_s // self.quota.window_s)
        if window > self.window:
            self.window, self.energy_j, self.cost_usd = window, 0.0, 0.0

    def _check_window(self, now_s: float) -> None:
        """Refuse what comes after the window's share is used up; those under way count with the mean of the others."""
        quota = self.quota
        wait_s = (self.window + 1) * quota.window_s - now_s
        if self.energy_j + self.under_way * self.mean_energy_j >= quota.energy_j:
            text = f"this API key has used up its {quota.energy_j:g} J per {quota.window_s:g} s"
            raise QuotaError(text, limit="energy", retry_after_s=wait_s)
        if self.cost_usd + self.under_way * self.mean_cost_usd >= quota.cost_usd:
            text = f"this API key has used up its {quota.cost_usd:g} USD per {quota.window_s:g} s"
            raise QuotaError(text, limit="cost", retry_after_s=wait_s)

    def _check_concurrent(self, pictures: int, now_s: float) -> None:
        over = self.under_way + pictures - self.quota.concurrent
        if over > 0:
            each_s = self.mean_s / self.under_way
            wait_s = max(self.next_end_s - now_s, each_s / 2) + (over - 1) * each_s
            text = (
                f"this API key may have {self.quota.concurrent:g} pictures at once, and {self.under_way} are under way"
            )
            raise QuotaError(text, limit="concurrent", retry_after_s=wait_s)

    def _check_rate(self, pictures: int, now_s: float) -> None:
        quota = self.quota
        if math.isinf(quota.rate_per_s):
            return
        each_s = 1.0 / quota.rate_per_s
        # There is room once what is paid for lies no more than the burst ahead.
        room_s = self.paid_until_s + (pictures - quota.burst) * each_s
        if room_s <= now_s + _SLACK_S and self.promises.let_in(now_s):
            return
        planned_s = max(self.paid_until_s, self.promised_until_s if self.promises else -math.inf)
        due_s = self.promises.add(now_s, planned_s + (pictures - quota.burst) * each_s)
        self.promised_until_s = max(planned_s, due_s) + pictures * each_s
        text = f"this API key may ask for {quota.rate_per_s:g} pictures per second on average, {quota.burst:g} at once"
        raise QuotaError(text, limit="rate", retry_after_s=due_s - now_s)


def whole_s(seconds: float) -> int:
    """Return what `Retry-After` says for a time: never less than it, in whole seconds, at least 1."""
    return max(1, math.ceil(seconds - 1e-9))
