"""A dispatcher that also changes the steps of what it started, at whatever moment a test wants."""

import dataclasses
from collections.abc import Callable

from edgegen.dispatch.dispatcher import Dispatcher
from edgegen.dispatch.messages import Abandoned, Event, Progressed, Retarget, Start

Wanted = Callable[[str, int], int | None]  # id and steps done (or GONE) -> steps in all, or no change
GONE = -1  # whoever asked went away
QUALITY = 0.625


def change(start: Start, steps: int) -> Retarget:
    """The order to finish with other steps, with a prediction that is exact on an idle fleet."""
    made_s = start.fixed_s + steps * start.step_s
    predicted = dataclasses.replace(start.predicted, generate_s=made_s)
    return Retarget(start.id, start.node, steps, QUALITY, predicted, f"It finishes with {steps} steps.")


class Retargeting:
    """Wraps a dispatcher. Orders that come too late are given all the same, as a planner that is behind would."""

    def __init__(self, inner: Dispatcher, wanted: Wanted):
        self._inner, self._wanted = inner, wanted
        self.starts: dict[str, Start] = {}

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def react(self, event: Event, now_s: float) -> list:
        """Do as the dispatcher does, and then change what the test wants changed."""
        commands = self._inner.react(event, now_s)
        begun = {command.id: command for command in commands if isinstance(command, Start)}
        self.starts |= begun
        moments = dict.fromkeys(begun, 0)
        if isinstance(event, Progressed | Abandoned) and event.id in self.starts:
            moments[event.id] = event.step if isinstance(event, Progressed) else GONE
        for request_id, done in moments.items():
            steps = self._wanted(request_id, done)
            if steps is not None:
                commands.append(self._change(request_id, steps))
        return commands

    def _change(self, request_id: str, steps: int) -> Retarget:
        command, books = change(self.starts[request_id], steps), self._inner.books
        if request_id in books:
            run = books.node_of(request_id).runs[request_id]
            if steps > run.step and not run.generated:
                books.retarget(request_id, command)
        return command

    def handle(self, event: Event, now_s: float) -> list:
        """Do as `react`, and write the journal."""
        commands = self.react(event, now_s)
        self._inner.note()
        return commands
