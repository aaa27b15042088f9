"""Messages over connections that break: each arrives once and in order, and what is kept is bounded."""

import asyncio
import json
import random

import pytest

from edgegen.serve.workers import letters as module
from edgegen.serve.workers.letters import Letters, exchange, read_frame
from edgegen.serve.workers.messages import LineError, encode


class Pipe:
    """Two ends in memory that break after a number of frames."""

    def __init__(self, frames: int):
        self.left = frames
        self.queues = asyncio.Queue(), asyncio.Queue()

    def end(self, side: int):
        pipe = self

        class End:
            async def send(self, text):
                if pipe.left <= 0:
                    raise ConnectionError("broken")
                pipe.left -= 1
                await pipe.queues[1 - side].put(text)

            async def receive(self):
                while True:
                    try:
                        async with asyncio.timeout(0.01):
                            return await pipe.queues[side].get()
                    except TimeoutError:
                        if pipe.left <= 0:
                            raise ConnectionError("broken") from None

        return End()


async def meet(left, right, frames, heard):
    """Let two ends talk over one connection until it breaks; what is on the way then is lost."""
    pipe = Pipe(frames)
    ends = [
        exchange(mine, pipe.end(side), heard[side].append, has=other.heard, beat=dict, on_beat=lambda beat: None)
        for side, (mine, other) in enumerate(((left, right), (right, left)))
    ]
    await asyncio.gather(*ends, return_exceptions=True)


@pytest.mark.parametrize("seed", range(8))
async def test_every_message_arrives_once_and_in_order_however_often_the_link_breaks(seed, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.002)
    rng = random.Random(seed)
    left, right, heard = Letters(), Letters(), ([], [])
    given: tuple[list, list] = ([], [])
    for _ in range(30):
        for side, end in enumerate((left, right)):
            for _ in range(rng.randrange(4)):
                number = len(given[side])
                given[side].append(number)
                end.post(encode("progress", id=str(number)))
        await meet(left, right, rng.randrange(1, 12), heard)
    for _ in range(40):
        if len(heard[0]) == len(given[1]) and len(heard[1]) == len(given[0]):
            break
        await meet(left, right, 30, heard)
    assert [int(message["id"]) for message in heard[1]] == given[0]
    assert [int(message["id"]) for message in heard[0]] == given[1]


def test_what_was_taken_once_is_not_taken_again_and_nothing_may_be_missing():
    letters = Letters()
    assert letters.take({"n": 1, "m": {"type": "a"}}) == {"type": "a"}
    assert letters.take({"n": 1, "m": {"type": "a"}}) is None
    with pytest.raises(LineError, match="expected message 2, got 3"):
        letters.take({"n": 3, "m": {"type": "c"}})


@pytest.mark.parametrize("frame", [{"n": "1"}, {"n": True}, {"n": 1}, {"n": 1, "m": []}, {"n": 1, "m": {"type": 3}}, {"ack": 1},
                                   {"ack": -1}, {"ack": "0"}, {"ack": True}])  # fmt: skip
def test_what_is_no_frame_is_named(frame):
    letters = Letters()
    with pytest.raises(LineError, match="expected"):
        letters.take(frame)
    assert letters.heard == 0


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", "3", "[" * 100_000, "x" * (module.MAX_FRAME_BYTES + 1)])
def test_what_is_no_json_object_is_no_frame(text):
    with pytest.raises(LineError):
        read_frame(text)


def test_what_waits_to_be_heard_is_bounded():
    letters = Letters()
    for _ in range(module.MAX_KEPT):
        letters.post(encode("alive"))
    with pytest.raises(LineError, match="wait to be heard"):
        letters.post(encode("alive"))
    letters.settle(10)
    letters.post(encode("alive"))
    large, picture = Letters(), encode("finished", png_b64="x" * 1_000_000)
    for _ in range(module.MAX_KEPT_BYTES // len(picture)):
        large.post(picture)
    with pytest.raises(LineError, match="wait to be heard"):
        large.post(picture)


async def test_a_silent_link_counts_as_broken(monkeypatch):
    monkeypatch.setattr(module, "SILENCE_S", 0.1)
    pipe = Pipe(1000)
    with pytest.raises(ConnectionError, match=r"nothing was heard for 0\.1 s"):
        await exchange(Letters(), pipe.end(0), print, has=0, beat=dict, on_beat=print)


async def test_beats_keep_a_link_alive_and_carry_what_they_are_given(monkeypatch):
    monkeypatch.setattr(module, "SILENCE_S", 0.3)
    monkeypatch.setattr(module, "BEAT_S", 0.05)
    pipe, beats = Pipe(30), []
    ends = [
        exchange(Letters(), pipe.end(side), print, has=0, beat=lambda: {"queue": 3}, on_beat=beats.append)
        for side in range(2)
    ]
    ended = await asyncio.gather(*ends, return_exceptions=True)
    assert [str(end) for end in ended] == ["broken", "broken"]
    assert len(beats) >= 20
    assert beats[0] == {"queue": 3}


def test_a_frame_is_json_with_its_number_and_acknowledgement():
    letters = Letters()
    letters.post(encode("cancel", id="x"))
    ((number, text),) = letters.after(0)
    assert json.loads(letters.frame(number, text)) == {"n": 1, "ack": 0, "m": {"type": "cancel", "id": "x"}}
