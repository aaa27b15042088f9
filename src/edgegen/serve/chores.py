"""What nobody waits for: done in order, but after what somebody waits for."""

import asyncio
import collections
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

Chore = Callable[[], None]
DELAY_S = 0.002  # a chore is put off for so long at most


class Chores:
    """A queue of small pieces of work that the event loop does in between."""

    def __init__(self) -> None:
        self._due: collections.deque[Chore] = collections.deque()
        self._timer: asyncio.Handle | None = None

    def add(self, chore: Chore, *, soon: bool = False) -> None:
        """Do something after all that was added before: within `DELAY_S`, or `soon`, when the loop gets round to it."""
        self._due.append(chore)
        if soon:
            asyncio.get_running_loop().call_soon(self.catch_up)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY_S, self._in_time)

    def catch_up(self) -> None:
        """Do everything that is due; whoever looks at the results calls this first."""
        while self._due:
            try:
                self._due.popleft()()
            except Exception as error:  # such as a full disk: one that fails must not keep the others back
                log.error("a chore of the gateway failed", exc_info=error)

    def _in_time(self) -> None:
        self._timer = None
        self.catch_up()
