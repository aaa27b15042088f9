"""Links that are not physically there: transfers last as the stated rates and round trips say.

A link carries in each direction as much as fits: transfers whose shares add up to at most one run side by side, the
others wait in the order in which they came.
"""

import asyncio
import collections
import math
import time

import numpy as np

from edgegen.dispatch.fleet import Link
from edgegen.physics.channel import rate_bps

_SLACK = 1e-9  # shares that add up to one by arithmetic may miss it by rounding


class Channel:
    """One direction of a link, shared by everybody who sends on it."""

    def __init__(self) -> None:
        self._free = 1.0
        self._waiting: collections.deque[tuple[float, asyncio.Future[None]]] = collections.deque()

    async def hold(self, share: float, seconds: float) -> None:
        """Use a share of the channel for a time."""
        share = min(max(share, 0.0), 1.0)
        await self._take(share)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._give(share)

    async def _take(self, share: float) -> None:
        if not self._waiting and share <= self._free + _SLACK:
            self._free -= share
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((share, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(share)
            raise

    def _give(self, share: float) -> None:
        self._free = min(1.0, self._free + share)
        while self._waiting:
            wanted, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif wanted <= self._free + _SLACK:
                self._waiting.popleft()
                self._free -= wanted
                turn.set_result(None)
            else:
                return


class Radio:
    """Both directions between the devices and one node."""

    def __init__(self) -> None:
        self._up, self._down = Channel(), Channel()

    async def upload(self, path: Link, bits: float, share: float) -> float:
        """Last as long as a prompt takes to the node; return the seconds that it took."""
        return await _transfer(self._up, bits, path.uplink_bps, path, share)

    async def download(self, path: Link, bits: float, share: float) -> float:
        """Last as long as a picture takes to the device; return the seconds that it took."""
        return await _transfer(self._down, bits, path.downlink_bps, path, share)


async def _transfer(channel: Channel, bits: float, full_bps: float, path: Link, share: float) -> float:
    began_s = time.monotonic()
    on_air_s = transfer_s(bits, full_bps, path.snr, share)
    if on_air_s > 0:
        await channel.hold(share, on_air_s)
    if path.rtt_s > 0:
        await asyncio.sleep(path.rtt_s / 2)
    return time.monotonic() - began_s if on_air_s > 0 or path.rtt_s > 0 else 0.0


def transfer_s(bits: float, full_bps: float, snr: float, share: float) -> float:
    """Return how long bits are on the air with a share of the band."""
    if math.isinf(full_bps):
        return 0.0
    return bits / max(float(rate_bps(np.float64(full_bps), np.float64(snr), np.float64(share))), 1e-9)
