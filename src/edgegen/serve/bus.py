"""Events for whoever listens: every subscriber has a bounded queue, and who is slow loses the oldest."""

import asyncio
import collections
import json
from collections.abc import AsyncIterator
from typing import Any

QUEUE_LENGTH = 256
QUEUE_CHARACTERS = 2**20  # pictures in the making are long
MAX_SUBSCRIBERS = 64


class Subscription:
    """One listener's queue of (kind, JSON text)."""

    def __init__(self) -> None:
        self._events: collections.deque[tuple[str, str]] = collections.deque()
        self._characters = 0
        self._ready = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def put(self, kind: str, text: str) -> None:
        """Add an event; when the queue is full, in number or in length, the oldest are lost."""
        self._events.append((kind, text))
        self._characters += len(text)
        while len(self._events) > QUEUE_LENGTH or (self._characters > QUEUE_CHARACTERS and len(self._events) > 1):
            self._take()
            self.dropped += 1
        self._ready.set()

    def close(self) -> None:
        """End the stream after what is queued."""
        self._closed = True
        self._ready.set()

    async def events(self) -> AsyncIterator[tuple[str, str]]:
        """Yield events as they come, until the bus closes."""
        while True:
            while self._events:
                yield self._take()
            if self._closed:
                return
            self._ready.clear()
            await self._ready.wait()

    def _take(self) -> tuple[str, str]:
        kind, text = self._events.popleft()
        self._characters -= len(text)
        return kind, text


class Bus:
    """Hands events to all subscribers without ever waiting for one."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen; nobody has to make an event that nobody hears."""
        return len(self._subscriptions)

    def publish(self, kind: str, data: dict[str, Any]) -> None:
        """Give an event to everybody who listens."""
        if self._subscriptions:
            text = json.dumps(data, separators=(",", ":"))
            for subscription in self._subscriptions:
                subscription.put(kind, text)

    def subscribe(self) -> Subscription | None:
        """Return a new subscription, or None when there are too many or the bus is closed."""
        if self._closed or len(self._subscriptions) >= MAX_SUBSCRIBERS:
            return None
        subscription = Subscription()
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a listener; twice is fine."""
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()
