"""A conversation of numbered messages that outlives its connections: what was not acknowledged is sent again.

Both ends work alike. Each numbers what it posts, keeps it until the other end says that it has it, and takes every number
once and in order. So whatever breaks in between, a message arrives exactly once, or both ends learn that the conversation
is over. Frames are JSON texts: `{"n", "ack", "m"}` is message number n, `{"ack"}` and `{"beat", "ack"}` carry none.
"""

import asyncio
import collections
import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from edgegen.serve.workers.messages import MAX_TO_GATEWAY_BYTES, LineError

MAX_KEPT, MAX_KEPT_BYTES = 4096, 64 * 1024 * 1024  # posted and not acknowledged; a picture weighs some kilobytes
MAX_FRAME_BYTES = MAX_TO_GATEWAY_BYTES + 1024
BEAT_S = 2.0
SILENCE_S = 10.0  # a line on which nothing is heard for this long is broken
_LARGE_BYTES = 16 * 1024  # smaller messages say nothing about a rate


class Wire(Protocol):
    """One connection; both methods raise `ConnectionError` when it is broken."""

    async def send(self, text: str) -> None:
        """Send a frame."""
        ...

    async def receive(self) -> str:
        """Wait for a frame."""
        ...


class Letters:
    """One end of a conversation."""

    def __init__(self) -> None:
        self.heard = 0  # the number of the last message taken
        self.posted = 0  # the number of the last message given out
        self.stirred = asyncio.Event()  # there is something to send
        self.uplink_bps: float | None = None  # from the last large message and its acknowledgement
        self._kept: collections.deque[tuple[int, str]] = collections.deque()
        self._kept_bytes = 0
        self._timed: tuple[int, int, float] | None = None  # number, bytes and time of a large message under way

    def post(self, line: bytes) -> None:
        """Give an encoded message out. **Raises** `LineError` when too much waits for its acknowledgement."""
        text = line.decode().rstrip("\n")
        if len(self._kept) >= MAX_KEPT or self._kept_bytes + len(text) > MAX_KEPT_BYTES:
            raise LineError(f"more than {MAX_KEPT} messages or {MAX_KEPT_BYTES} bytes wait to be heard")
        self.posted += 1
        self._kept.append((self.posted, text))
        self._kept_bytes += len(text)
        self.stirred.set()

    def after(self, number: int) -> list[tuple[int, str]]:
        """Return the kept messages beyond a number."""
        return [entry for entry in self._kept if entry[0] > number]

    def frame(self, number: int, text: str) -> str:
        """Return a message as it goes over the line."""
        if len(text) >= _LARGE_BYTES and self._timed is None:
            self._timed = (number, len(text), time.monotonic())
        return f'{{"n":{number},"ack":{self.heard},"m":{text}}}'

    def settle(self, number: Any) -> None:
        """Forget what the other end has. **Raises** `LineError` for a number that was not given out."""
        if type(number) is not int or not 0 <= number <= self.posted:
            raise LineError(f"expected an acknowledgement of up to {self.posted}, got {number!r}")
        while self._kept and self._kept[0][0] <= number:
            self._kept_bytes -= len(self._kept.popleft()[1])
        if self._timed is not None and self._timed[0] <= number:
            _, size, sent_s = self._timed
            self.uplink_bps, self._timed = 8 * size / max(time.monotonic() - sent_s, 1e-3), None

    def take(self, frame: dict[str, Any]) -> dict[str, Any] | None:
        """Return the message of a frame, or None when it has none or was taken before. **Raises** `LineError`."""
        if "ack" in frame:
            self.settle(frame["ack"])
        if "n" not in frame:
            return None
        number, message = frame["n"], frame.get("m")
        if type(number) is not int or number > self.heard + 1:
            raise LineError(f"expected message {self.heard + 1}, got {number!r}")
        if number <= self.heard:
            return None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise LineError("expected a message with a 'type'")
        self.heard = number
        self.stirred.set()  # to acknowledge it
        return message


def read_frame(text: str) -> dict[str, Any]:
    """Return a frame. **Raises** `LineError`."""
    if len(text) > MAX_FRAME_BYTES:
        raise LineError(f"a frame is longer than {MAX_FRAME_BYTES} bytes")
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise LineError("a frame is no JSON") from None
    if not isinstance(frame, dict):
        raise LineError("a frame is no JSON object")
    return frame


async def exchange(
    letters: Letters,
    wire: Wire,
    on_message: Callable[[dict[str, Any]], None],
    *,
    has: int,
    beat: Callable[[], dict[str, Any]],
    on_beat: Callable[[dict[str, Any]], None],
) -> None:
    """Carry a conversation over one connection until that breaks. `has` is the last number that the other end has.

    **Raises** `ConnectionError` when the connection breaks, `LineError` when what comes is no frame.
    """
    letters.settle(has)
    halves = {
        asyncio.create_task(_write(letters, wire, has, beat)),
        asyncio.create_task(_read(letters, wire, on_message, on_beat)),
    }
    try:
        done, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        for half in done:
            half.result()
    finally:
        for half in halves:
            half.cancel()
        await asyncio.gather(*halves, return_exceptions=True)


async def _write(letters: Letters, wire: Wire, sent: int, beat: Callable[[], dict[str, Any]]) -> None:
    acknowledged, beat_s = letters.heard, time.monotonic()
    while True:
        letters.stirred.clear()
        for number, text in letters.after(sent):
            acknowledged = letters.heard
            await wire.send(letters.frame(number, text))
            sent = number
        if acknowledged < letters.heard:
            acknowledged = letters.heard
            await wire.send(f'{{"ack":{acknowledged}}}')
        if time.monotonic() - beat_s >= BEAT_S:
            acknowledged, beat_s = letters.heard, time.monotonic()
            await wire.send(json.dumps({"beat": beat(), "ack": acknowledged}))
        try:
            async with asyncio.timeout(max(0.0, beat_s + BEAT_S - time.monotonic())):
                await letters.stirred.wait()
        except TimeoutError:
            continue


async def _read(
    letters: Letters,
    wire: Wire,
    on_message: Callable[[dict[str, Any]], None],
    on_beat: Callable[[dict[str, Any]], None],
) -> None:
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                text = await wire.receive()
        except TimeoutError:
            raise ConnectionError(f"nothing was heard for {SILENCE_S:g} s") from None
        frame = read_frame(text)
        if (message := letters.take(frame)) is not None:
            on_message(message)
        if isinstance(frame.get("beat"), dict):
            on_beat(frame["beat"])
