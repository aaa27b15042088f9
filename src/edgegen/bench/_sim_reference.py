"""The choice of a provider, simulated one event at a time in plain Python: what the compiled simulator is compared with.

It shares no code with `sim` and `papers.aaas`: a heap of ends instead of tables, lists instead of arrays.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Provider(NamedTuple):
    """One provider: its pool and the knees of its curve."""

    capacity: float
    a_x: float
    a_y: float
    b_x: float
    b_y: float

    def gain(self, steps: float) -> float:
        """The score of a picture with so many steps over that of noise."""
        return (self.b_y - self.a_y) * min(max((steps - self.a_x) / (self.b_x - self.a_x), 0.0), 1.0)


Choice = Callable[[int, float, list[float]], int]  # (number, steps, free steps by provider) -> provider


def serve(
    providers: Sequence[Provider], tasks: Sequence[tuple[float, float]], choose: Choice
) -> tuple[list[float], int]:
    """Serve tasks (arrival in seconds, steps) in order; return the reward of each, and how many finished in the episode."""
    running: list[dict[int, tuple[float, float, float]]] = [{} for _ in providers]  # task: begin, end, steps
    free = [provider.capacity for provider in providers]
    ends: list[tuple[float, int, int]] = []
    rewards, finished = [], 0
    for number, (now_s, steps) in enumerate(tasks):
        while ends and ends[0][0] <= now_s:
            _, done, place = heapq.heappop(ends)
            if done in running[place]:  # it may have been killed meanwhile
                free[place] += running[place].pop(done)[2]
                finished += 1
        place = choose(number, steps, free)
        if steps <= free[place]:
            end_s = now_s + (0.001 * steps**2 + 2.5 * steps - 14) * 60
            end_s = float(round(end_s))  # whole seconds for multiples of ten steps; this removes rounding errors
            running[place][number] = now_s, end_s, steps
            heapq.heappush(ends, (end_s, number, place))
            free[place] -= steps
            rewards.append(providers[place].gain(steps))
        else:
            done_parts = [(now_s - begin_s) / (end_s - begin_s) for begin_s, end_s, _ in running[place].values()]
            rewards.append(-2.0 - sum(2.0 * (1.0 - part) for part in done_parts))
            running[place].clear()
            free[place] = providers[place].capacity
    return rewards, finished


def most_free(number: int, steps: float, free: list[float]) -> int:
    """The provider with the most free steps, the first of equal ones."""
    del number, steps
    return free.index(max(free))
