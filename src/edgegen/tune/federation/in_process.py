"""All of a run in this process: the sites one after another, the messages those of Flower, the network left out.

For tests, the demo and up to about ten sites. A site's time is measured alone, as if all worked side by side, and held
against the deadline. Three things that Flower does elsewhere are done here: somebody says who this task is before a message
can be made (private in Flower, so its version is pinned), each message gets an id, and nobody shares a record with somebody
else: messages are serialised and read again each way, as between machines.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from edgegen.core.errors import InputError
from edgegen.tune.federation.app import client_app
from edgegen.tune.federation.launch import run_identity
from edgegen.tune.federation.learners import AbstractLearner, Arrays
from edgegen.tune.federation.records import Progress, RunFolder
from edgegen.tune.federation.rounds import Around, run_rounds
from edgegen.tune.federation.settings import FederatedSettings
from edgegen.tune.federation.transport import carried

Delay = Callable[[int, Message], float]  # seconds that a site takes longer to answer a message; infinite: never answers
OnSite = Callable[[int, Message], None]  # told which site has just worked, and on which message
FAILED = 1  # the code of an error that a site answers with


def _at_once(site: int, message: Message) -> float:
    del site, message
    return 0.0


def _nobody(site: int, message: Message) -> None:
    del site, message


class InProcessGrid(Grid):
    """Calls the ClientApp directly, once per message, with the context of the site that it is for."""

    def __init__(
        self,
        app: ClientApp,
        sites: int,
        *,
        run_config: Mapping[str, str | int | float | bool] | None = None,
        delay_s: Delay = _at_once,
        on_site: OnSite = _nobody,
    ):
        if sites < 1:
            raise InputError(f"a run needs at least one site, got {sites}", param="sites")
        self._app, self._delay_s, self._on_site, self._sent = app, delay_s, on_site, 0
        self._replies: dict[str, Message] = {}
        self._contexts = {
            site + 1: Context(
                run_id=1,
                node_id=site + 1,
                node_config={"partition-id": site, "num-partitions": sites},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for site in range(sites)
        }

    def set_run(self, run) -> None:
        del run  # a SuperLink keeps records of runs; here the run is the call

    @property
    def run(self):
        """There is none."""
        raise LookupError("a run in this process has no record at a SuperLink")

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._answer(message, None) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages([self._answer(message, timeout) for message in messages])

    def _answer(self, message: Message, timeout_s: float | None) -> str:
        """Let the site answer, and keep the answer under the message's id if it came in time."""
        self._sent += 1
        name = f"message-{self._sent}"
        arrived = carried(message, name)
        node = message.metadata.dst_node_id
        delay_s = self._delay_s(node - 1, message)
        if delay_s == float("inf"):
            return name
        began = time.monotonic()
        reply = self._ask(arrived, self._contexts[node])
        if timeout_s is None or time.monotonic() - began + delay_s <= timeout_s:
            self._replies[name] = carried(reply, f"{name}-reply")
        self._on_site(node - 1, message)
        return name

    def _ask(self, message: Message, context: Context) -> Message:
        try:
            return self._app(message, context)
        except Exception as error:  # what a site raises is its answer, as from another machine
            return Message(Error(FAILED, f"{type(error).__name__}: {error}"), reply_to=message)


@contextmanager
def task_identity() -> Iterator[None]:
    """Say to Flower who makes messages in this process, for as long as the context is open."""
    names = ("_task_id", "_run_id", "_node_id")
    before = [getattr(TaskIdentity, name) for name in names]
    log, level = logging.getLogger("flwr"), logging.getLogger("flwr").level
    log.setLevel(max(level, logging.ERROR))  # the caller shows the rounds
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0
    try:
        yield
    finally:
        log.setLevel(level)
        for name, value in zip(names, before, strict=True):
            setattr(TaskIdentity, name, value)


def run_in_process(
    learner: Callable[[int], AbstractLearner],
    sites: int,
    settings: FederatedSettings,
    start: Arrays,
    *,
    around: Around | None = None,
    folder: str | None = None,
    delay_s: Delay = _at_once,
    on_site: OnSite = _nobody,
    options: Mapping[str, Any] | None = None,
) -> Progress:
    """Run federated rounds over `sites` learners in this process and return what came of them.

    `learner(site)` is called once for each site, when it is first asked. `folder` keeps the run, to go on with after a
    kill. `on_site` is called after each site's work, for progress. `options` are written beside the settings, so that a
    folder of other sites is not gone on with.
    """
    app = client_app(lambda context: learner(int(context.node_config["partition-id"])))
    grid = InProcessGrid(app, sites, delay_s=delay_s, on_site=on_site)
    kept = None
    if folder is not None:
        kept = RunFolder(folder, run_identity(settings, sites, options))
    with task_identity():
        return run_rounds(grid, settings, start, around=around, folder=kept)
