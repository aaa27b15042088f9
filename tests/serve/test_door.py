"""Whether `Retry-After` of a full waiting queue is true, in simulated time, with newcomers who want the same places."""

import heapq

import numpy as np
import pytest

from edgegen.core.errors import BusyError
from edgegen.serve.door import Door

LIMIT = 16


class Queue:
    """A waiting queue and `servers` machines that take `service_s` for a picture; the dispatcher's view of it."""

    def __init__(self, service_s, servers, *, noise=0.0, seed=0):
        self.service_s, self.servers, self.noise = service_s, servers, noise
        self.waiting, self.busy, self.rng = 0, [], np.random.default_rng(seed)

    def until(self, now_s):
        """Let time pass: whoever ends makes room for whoever waits."""
        while self.busy and self.busy[0] <= now_s:
            ended_s = heapq.heappop(self.busy)
            if self.waiting:
                self.waiting -= 1
                self._start(ended_s)

    def join(self, now_s):
        if len(self.busy) < self.servers:
            self._start(now_s)
        else:
            self.waiting += 1

    def _start(self, now_s):
        took_s = self.service_s * self.rng.uniform(1 - self.noise, 1 + self.noise)
        heapq.heappush(self.busy, now_s + took_s)

    @property
    def half_s(self):
        """As `Dispatcher` computes it."""
        return max(0.5, self.waiting * self.service_s / self.servers / 2)


def returns(queue, *, load, guarded, seconds=200.0, seed=1):
    """Newcomers at `load` times the capacity; who is refused comes back once, when it was told.

    Return how many came back and how many of them got in, of all and of those that hold a promise.
    """
    rng, door = np.random.default_rng(seed), Door(LIMIT)
    rate = load * queue.servers / queue.service_s
    arrivals, now_s, number = [], 0.0, 0
    while (now_s := now_s + rng.exponential(1 / rate)) < seconds:
        arrivals.append((now_s, number, f"caller-{number}", "new"))
        number += 1
    heapq.heapify(arrivals)
    counts = {"told": [0, 0], "promised": [0, 0]}
    while arrivals:
        now_s, _, caller, kind = heapq.heappop(arrivals)
        queue.until(now_s)
        came_in, held = True, door.promised
        try:
            if guarded:
                door.enter(caller, 1, queue.waiting, now_s)
                held = door.promised
            if queue.waiting >= LIMIT:
                if not guarded:
                    raise BusyError("full", retry_after_s=max(1, round(queue.half_s)))
                raise door.full(caller, 1, queue.waiting, now_s, queue.half_s)
            queue.join(now_s)
        except BusyError as refused:
            came_in = False
            if kind == "new":
                number += 1
                back = "promised" if door.promised > held else "told"
                heapq.heappush(arrivals, (now_s + refused.retry_after_s, number, caller, back))
        if kind != "new":
            counts[kind][0] += 1
            counts[kind][1] += came_in
    return counts


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("load", [1.02, 1.2, 2.0, 10.0])
def test_who_was_promised_a_place_finds_it(noise, load):
    back, let_in = returns(Queue(2.0, 4, noise=noise), load=load, guarded=True)["promised"]
    assert back > 30
    assert let_in >= 0.97 * back  # four machines that end together free their places in lumps, so a few are late


def test_near_the_capacity_nearly_everybody_is_promised_a_place():
    counts = returns(Queue(2.0, 4), load=1.02, guarded=True)
    assert counts["promised"][0] > 5 * counts["told"][0]


def test_without_promises_many_would_come_back_in_vain():
    back, let_in = returns(Queue(2.0, 4), load=1.2, guarded=False)["told"]
    assert back > 30
    assert let_in < 0.8 * back


def test_a_promise_is_kept_while_ten_times_as_many_newcomers_want_the_place():
    queue, door = Queue(0.5, 2), Door(LIMIT)
    for _ in range(LIMIT + 2):
        queue.join(0.0)
    refused = door.full("ours", 1, queue.waiting, 0.0, queue.half_s)
    newcomers = 0
    for at_s in np.arange(0.01, refused.retry_after_s, 0.025):
        queue.until(at_s)
        try:
            door.enter(f"new-{at_s}", 1, queue.waiting, at_s)
            if queue.waiting >= LIMIT:
                raise door.full("new", 1, queue.waiting, at_s, queue.half_s)
            queue.join(at_s)
        except BusyError:
            newcomers += 1
    queue.until(refused.retry_after_s)
    door.enter("ours", 1, queue.waiting, refused.retry_after_s)
    assert queue.waiting < LIMIT
    assert newcomers > 10


def test_places_are_not_kept_for_those_who_do_not_come_back():
    door = Door(LIMIT)
    for number in range(8):
        door.full(f"gone-{number}", 1, LIMIT, 0.0, 1.0)
    with pytest.raises(BusyError):
        door.enter("new", 1, LIMIT - 1, 0.5)
    door.enter("new", 1, LIMIT - 1, 60.0)
    assert door.promised == 0


def test_promises_take_no_more_than_half_of_the_queue():
    door = Door(LIMIT)
    for number in range(1000):
        door.full(f"caller-{number}", 3, LIMIT, 0.001 * number, 4.0)
    assert door.promised <= LIMIT // 2
    door.enter("new", 1, 0, 1.0)


def test_the_wait_follows_the_backlog():
    waits = [Door(LIMIT).full("a", 1, LIMIT, 0.0, half_s).retry_after_s for half_s in (0.5, 8.0, 80.0)]
    assert waits == [1, 2, 13]  # one place of eight, with caution, in whole seconds
