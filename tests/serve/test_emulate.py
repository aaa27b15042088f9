import asyncio
import math
import time

from edgegen.dispatch.fleet import Link
from edgegen.serve.emulate import Channel, Radio, transfer_s

LINK = Link(uplink_bps=1e6, downlink_bps=4e6, rtt_s=0.02)


async def test_a_transfer_lasts_as_the_rate_and_half_a_round_trip_say():
    radio = Radio()
    began_s = time.monotonic()
    up_s = await radio.upload(LINK, 50e3, 1.0)
    down_s = await radio.download(LINK, 50e3, 0.5)
    assert 0.06 <= up_s < 0.3  # a busy machine wakes sleepers late, never early
    assert 0.035 <= down_s < 0.3
    assert up_s + down_s <= time.monotonic() - began_s


async def test_a_wire_without_a_rate_takes_no_time():
    assert await Radio().upload(Link(), 1e9, 1.0) == 0.0


async def test_whole_shares_go_one_after_the_other_and_halves_side_by_side():
    async def last(share: float) -> float:
        channel, began_s = Channel(), time.monotonic()
        await asyncio.gather(*(channel.hold(share, 0.1) for _ in range(4)))
        return time.monotonic() - began_s

    assert 0.4 <= await last(1.0) < 0.6
    assert 0.2 <= await last(0.5) < 0.38
    assert 0.2 <= await last(1 / 3) < 0.38


async def test_whoever_gives_up_leaves_the_channel_to_the_others():
    channel = Channel()
    first, second, third = (asyncio.create_task(channel.hold(1.0, 0.03)) for _ in range(3))
    await asyncio.sleep(0.01)
    second.cancel()
    first.cancel()
    async with asyncio.timeout(1):
        await third
        await channel.hold(1.0, 0.0)


def test_a_share_of_a_band_with_noise_carries_more_than_its_share_of_the_rate():
    linear, curved = transfer_s(1e6, 1e6, math.inf, 0.5), transfer_s(1e6, 1e6, 10.0, 0.5)
    assert linear == 2.0
    assert 1.0 < curved < 2.0
