import asyncio

from edgegen.serve.bus import MAX_SUBSCRIBERS, QUEUE_CHARACTERS, QUEUE_LENGTH, Bus


async def test_two_subscribers_hear_the_same():
    bus = Bus()
    first, second = bus.subscribe(), bus.subscribe()
    bus.publish("decided", {"id": "a"})
    bus.close()
    heard = [[event async for event in subscription.events()] for subscription in (first, second)]
    assert heard == [[("decided", '{"id":"a"}')]] * 2


async def test_a_slow_subscriber_loses_the_oldest_and_blocks_nobody():
    bus = Bus()
    subscription = bus.subscribe()
    for number in range(QUEUE_LENGTH + 10):
        bus.publish("progress", {"step": number})
    bus.close()
    heard = [text async for _, text in subscription.events()]
    assert len(heard) == QUEUE_LENGTH
    assert heard[0] == '{"step":10}'
    assert subscription.dropped == 10


async def test_long_events_are_bounded_by_their_length():
    bus = Bus()
    subscription = bus.subscribe()
    for number in range(40):
        bus.publish("progress", {"step": number, "preview_b64": "x" * (QUEUE_CHARACTERS // 10)})
    bus.close()
    heard = [text async for _, text in subscription.events()]
    assert sum(map(len, heard)) <= QUEUE_CHARACTERS
    assert len(heard) == 9
    assert '"step":39' in heard[-1]


async def test_events_wake_whoever_waits():
    bus = Bus()
    stream = bus.subscribe().events()
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    bus.publish("nodes", {})
    assert await waiting == ("nodes", "{}")


async def test_the_number_of_subscribers_is_bounded():
    bus = Bus()
    subscriptions = [bus.subscribe() for _ in range(MAX_SUBSCRIBERS)]
    assert bus.subscribe() is None
    bus.unsubscribe(subscriptions[0])
    bus.unsubscribe(subscriptions[0])
    assert bus.subscribe() is not None
    bus.close()
    assert bus.subscribe() is None
