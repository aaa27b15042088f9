"""One round between the server and some sites: arrays go out, updates come back, and become one.

`AbstractExchange` is what the loop of rounds knows of it. `PlainExchange` sends by Flower's Message API and aggregates with
one of its strategies; `secure.SecureExchange` lets the server see the sum only. Who answers after the deadline is counted
and not waited for.
"""

import abc
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping

from edgegen.core.errors import InputError
from edgegen.tune.federation.aggregators import WEIGHT, strategy
from edgegen.tune.federation.learners import Arrays, Fitted
from edgegen.tune.federation.settings import LEAST_SITES, FederatedSettings
from edgegen.tune.federation.transport import Traffic, coding, decode, encode, received, total, values_of, weigh

ARRAYS, CONFIG, METRICS, CODING = "arrays", "config", "metrics", "coding"
Combine = Callable[[Arrays, Arrays, Sequence[Fitted]], Arrays]  # (arrays before, their new mean, updates) -> arrays


@dataclass(frozen=True)
class Exchanged:
    """What a round of training or judging brought."""

    arrays: Arrays | None = None  # None: nothing came back that could be put together
    metrics: dict[str, float] = field(default_factory=dict)  # weighted mean over the sites that answered
    sites: dict[int, dict[str, float]] = field(default_factory=dict)  # of each site that answered, by its number
    asked: int = 0
    late: int = 0  # had not answered at the deadline
    failed: int = 0  # answered with an error, or with what cannot be used
    down: Traffic = field(default_factory=Traffic)  # to the sites
    up: Traffic = field(default_factory=Traffic)  # from the sites, the late ones not counted


class AbstractExchange(abc.ABC):
    """How one round of training is exchanged."""

    @abc.abstractmethod
    def train(self, grid: Grid, arrays: Arrays, nodes: Sequence[int], number: int) -> Exchanged:
        """Ask the nodes to train from `arrays` in round `number`, and put together what they answer."""


def _go_on(messages: Sequence[Message], lost: set[int]) -> None:
    del messages, lost


class RoundGrid(Grid):
    """A grid as one round sees it: only the chosen nodes, no longer than the deadline, everything weighed.

    `on_lost` gets what was sent and the nodes that did not answer, or with an error, if there are any; it may raise.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Sequence[int],
        deadline_s: float | None,
        *,
        on_lost: Callable[[Sequence[Message], set[int]], None] = _go_on,
    ):
        self._grid, self._nodes, self._deadline_s, self._on_lost = grid, list(nodes), deadline_s, on_lost
        self.down, self.up = Traffic(), Traffic()
        self.late = self.failed = 0

    def set_run(self, run) -> None:
        self._grid.set_run(run)

    @property
    def run(self):
        """The run of the grid beneath."""
        return self._grid.run

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._nodes)

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [node for node in self._grid.get_nodes() if node.node_id in self._nodes]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Return the answers of those who answered in time, errors among them, in the order of the nodes."""
        sent = sorted(messages, key=lambda message: message.metadata.dst_node_id)  # Flower shuffles them
        self.down = sum((weigh(message) for message in sent), self.down)
        limits = [limit for limit in (timeout, self._deadline_s) if limit is not None]
        replies = list(self._grid.send_and_receive(sent, timeout=min(limits, default=None)))
        self.up = sum((weigh(message) for message in replies), self.up)
        self.late += len(sent) - len(replies)
        self.failed += sum(reply.has_error() for reply in replies)
        answered = {reply.metadata.src_node_id for reply in replies if not reply.has_error()}
        if lost := {message.metadata.dst_node_id for message in sent} - answered:
            self._on_lost(sent, lost)
        return sorted(replies, key=lambda reply: reply.metadata.src_node_id)


class PlainExchange(AbstractExchange):
    """Single updates reach the server, in the settings' bits, and one of Flower's strategies makes one of them.

    `combine` gets the arrays before, their new mean and the single updates, and returns the arrays after; without it the
    mean replaces the arrays of the same names.
    """

    def __init__(self, settings: FederatedSettings, *, combine: Combine | None = None):
        self._settings, self._combine = settings, combine

    def train(self, grid: Grid, arrays: Arrays, nodes: Sequence[int], number: int) -> Exchanged:
        settings = self._settings
        view = RoundGrid(grid, nodes, settings.deadline_s)
        sent = encode(arrays, settings.bits, np.random.default_rng((settings.seed, number)))
        seen = {**arrays, **decode(sent)}  # what the sites train from
        config = ConfigRecord({"steps": settings.steps, "round": number, "seed": settings.seed, **coding(sent)})
        messages = strategy(settings, len(nodes)).configure_train(number, sent.record, config, view)
        answers = _alike(sorted(_usable(view.send_and_receive(messages), seen, settings), key=lambda answer: answer[0]))
        unusable = len(nodes) - view.late - view.failed - len(answers)
        mean, metrics = self._aggregate(answers, seen, number)
        if mean is not None and self._combine:
            mean = self._combine(arrays, mean, [fitted for _, fitted in answers])
        elif mean is not None:
            mean = {**arrays, **mean}
        return Exchanged(
            mean,
            metrics,
            {site: {"examples": fitted.weight, **fitted.metrics} for site, fitted in answers},
            asked=len(nodes),
            late=view.late,
            failed=view.failed + unusable,
            down=view.down,
            up=view.up,
        )

    def _aggregate(self, answers: Sequence[tuple[int, Fitted]], seen: Arrays, number: int):
        least = LEAST_SITES[self._settings.aggregator](self._settings.malicious)
        if len(answers) < least:  # Flower would go on, and the rule would no longer bear what it is to bear
            return None, {}
        fits = [fitted for _, fitted in answers]
        rule = strategy(self._settings, len(fits))
        if isinstance(rule, DifferentialPrivacyServerSideFixedClipping):
            rule.current_arrays = ArrayRecord({name: _array(seen[name]) for name in fits[0].arrays})
            fits = [_moved(fitted, seen) for fitted in fits]
        shared = set.intersection(*(set(fitted.metrics) for fitted in fits))
        mean, metrics = rule.aggregate_train(number, [_reply(fitted, shared) for fitted in fits])
        if mean is None:
            return None, {}
        return {n: a.numpy().astype(np.float32) for n, a in mean.items()}, values_of(metrics or {})


def _array(values: np.ndarray) -> Array:
    return Array(np.asarray(values, np.float32))


def _reply(fitted: Fitted, metrics: set[str]) -> Message:
    """Return an update as a strategy of Flower expects it: decoded, with the metrics that all have."""
    content = RecordDict(
        {
            ARRAYS: ArrayRecord({name: _array(values) for name, values in fitted.arrays.items()}),
            METRICS: MetricRecord({**{name: fitted.metrics[name] for name in sorted(metrics)}, WEIGHT: fitted.weight}),
        }
    )
    return Message(content, dst_node_id=0, message_type=MessageType.TRAIN)


def _usable(replies: Sequence[Message], seen: Arrays, settings: FederatedSettings):
    """Yield the number of a site and its update, for the replies that can be used.

    What is broken or not finite is left out, as a failure of that site: no site can spoil a mean by a NaN.
    """
    for reply in replies:
        if reply.has_error():
            continue
        try:
            fitted, site = _read(reply.content, seen)
        except (InputError, KeyError, ValueError, TypeError):
            continue
        if settings.weights == "equal":
            fitted = Fitted(fitted.arrays, 1.0, fitted.metrics)
        if 0 < fitted.weight < math.inf and all(np.isfinite(values).all() for values in fitted.arrays.values()):
            yield site, fitted


def _moved(fitted: Fitted, seen: Arrays) -> Fitted:
    """Return an update that is not exactly nothing: Flower divides by its norm. One number moves by about its last bit."""
    if any(not np.array_equal(values, seen[name]) for name, values in fitted.arrays.items()):
        return fitted
    name = max(fitted.arrays, key=lambda name: fitted.arrays[name].size)
    values = np.array(fitted.arrays[name], np.float32)
    values.flat[0] = np.nextafter(values.flat[0] + np.float32(1e-12), np.float32(np.inf))
    return Fitted({**fitted.arrays, name: values}, fitted.weight, fitted.metrics)


def _alike(answers: Sequence[tuple[int, Fitted]]) -> list[tuple[int, Fitted]]:
    """Return the updates whose arrays have the names that most have; a mean of others would be of nothing."""
    names = Counter(frozenset(fitted.arrays) for _, fitted in answers)
    common = max(names, key=lambda found: names[found], default=frozenset())
    return [(site, fitted) for site, fitted in answers if set(fitted.arrays) == common]


def _read(content: RecordDict, seen: Arrays) -> tuple[Fitted, int]:
    config, record = values_of(content.config_records[CODING]), content.array_records[ARRAYS]
    arrays = received(record, config)
    if config["relative"]:
        arrays = total(arrays, seen)
    for name, values in arrays.items():
        if values.shape != seen[name].shape:
            raise ValueError(name)
    metrics = {name: float(value) for name, value in values_of(content.metric_records[METRICS]).items()}
    return Fitted(arrays, metrics.pop(WEIGHT), metrics), int(config["site"])


def judge_at_sites(grid: Grid, settings: FederatedSettings, arrays: Arrays, nodes: Sequence[int], number: int):
    """Return as `Exchanged` what the sites' own data say about `arrays`, which travel in the settings' bits."""
    view = RoundGrid(grid, nodes, settings.deadline_s)
    sent = encode(arrays, settings.bits, np.random.default_rng((settings.seed, number, 1)))
    config = ConfigRecord({"round": number, "seed": settings.seed, **coding(sent)})
    messages = strategy(settings, len(nodes)).configure_evaluate(number, sent.record, config, view)
    replies = [reply for reply in view.send_and_receive(messages) if not reply.has_error()]
    sites: dict[int, dict[str, float]] = {
        values_of(reply.content.config_records[CODING])["site"]: values_of(reply.content.metric_records[METRICS])
        for reply in replies
    }
    weights = [numbers.get("examples", 1.0) for numbers in sites.values()]
    names = set.intersection(*(set(numbers) for numbers in sites.values())) - {"examples"} if sites else set()
    mean = {n: float(np.average([numbers[n] for numbers in sites.values()], weights=weights)) for n in sorted(names)}
    return Exchanged(
        None, mean, sites, asked=len(nodes), late=view.late, failed=view.failed, down=view.down, up=view.up
    )
