"""Secure aggregation: the server learns the sum of the sites' updates, and of no single one more than that it was in it.

SecAgg+ (Bell et al. 2020) as Flower ships it: each site masks its update with a number stream of its own and with one for
each neighbour, which cancel in the sum; keys are shared in pieces, so that the masks of a site that is lost after its keys
were shared can be taken out again. Flower has it in its older stack only, so a round here runs Flower's workflow with the
older records, inside the same grid and the same app.

What travels is the update, not the arrays: it is small, so a narrow range, cut into whole numbers, is exact enough.
Known limits of Flower's protocol: examples and metrics of a site travel in the clear; the seeds of the masks are folded to
32 bits; the server is trusted to hand on the right public keys. It protects from a curious server, not from a hostile one.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

import flwr.compat.common.recorddict_compat as compat
import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common import (
    Code,
    EvaluateRes,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.server import ClientManager, LegacyContext, ServerConfig, SimpleClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import Strategy
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.serverapp import Grid

from edgegen.core.errors import InputError
from edgegen.tune.federation.exchange import AbstractExchange, Exchanged, RoundGrid
from edgegen.tune.federation.learners import AbstractLearner, Arrays
from edgegen.tune.federation.settings import FederatedSettings
from edgegen.tune.federation.transport import difference

ATTEMPTS = 2  # a site that is lost before its keys are shared ends the first; the second goes on without it


class SecureExchange(AbstractExchange):
    """A round of SecAgg+ over Flower's workflow."""

    def __init__(self, settings: FederatedSettings):
        if settings.secure is None:
            raise InputError("secure aggregation needs its settings", param="secure")
        self._settings, self._secure = settings, settings.secure

    def train(self, grid: Grid, arrays: Arrays, nodes: Sequence[int], number: int) -> Exchanged:
        left, done = list(nodes), Exchanged(asked=len(nodes))
        for _ in range(ATTEMPTS):
            if len(left) < self._secure.shares:
                break
            view = RoundGrid(grid, left, self._settings.deadline_s, on_lost=_end_if_early)
            lost, summed = set(), None
            try:
                summed = self._sum(view, arrays, number)
            except _LostEarly as early:
                lost = early.nodes
            done = replace(
                done,
                late=done.late + view.late,
                failed=done.failed + view.failed,
                down=done.down + view.down,
                up=done.up + view.up,
            )
            if summed and summed.mean is not None:
                new = {n: v + summed.mean[n].reshape(v.shape).astype(np.float32) for n, v in arrays.items()}
                return replace(done, arrays=new, metrics=summed.metrics, sites=summed.sites)
            left = [node for node in left if node not in lost]
            if not lost:
                break
        return done

    def _sum(self, view: RoundGrid, arrays: Arrays, number: int) -> "_Sum":
        """Run the four stages once."""
        secure, equal = self._secure, self._settings.weights == "equal"
        workflow = SecAggPlusWorkflow(
            secure.shares,
            secure.threshold,
            max_weight=1.0 if equal else secure.max_weight,
            clipping_range=float(secure.clip),
            quantization_range=secure.levels,
            timeout=self._settings.deadline_s,
        )
        order = {
            "steps": self._settings.steps,
            "round": number,
            "names": json.dumps(list(arrays)),
            "equal": equal,
            "clip": secure.clip,
            "max_weight": secure.max_weight,
        }
        once = _Sum(view, order)
        context = LegacyContext(
            Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={}),
            config=ServerConfig(num_rounds=1),
            strategy=once,
            client_manager=SimpleClientManager(),
        )
        context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: number})
        parameters = ndarrays_to_parameters(list(arrays.values()))
        context.state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(parameters, keep_input=True)
        workflow(view, context)
        if once.means is not None:
            once.mean = dict(zip(arrays, once.means, strict=True))
        return once


class _LostEarly(Exception):
    """Sites were lost before their keys were shared."""

    def __init__(self, nodes: set[int]):
        super().__init__(f"{len(nodes)} sites were lost before their keys were shared")
        self.nodes = nodes


def _end_if_early(messages: Sequence[Message], lost: set[int]) -> None:
    """End an attempt before the sites train for it: masks whose keys nobody shares can never be taken out."""
    stage = messages[0].content.config_records[RECORD_KEY_CONFIGS].get(Key.STAGE)
    if stage in (Stage.SETUP, Stage.SHARE_KEYS):
        raise _LostEarly(lost)


class _Sum(Strategy):
    """What Flower's workflow asks of a strategy of its older stack: whom to ask, and where to leave the mean."""

    def __init__(self, view: RoundGrid, order: dict):
        self._view, self._order = view, order
        self.means: list[np.ndarray] | None = None
        self.mean: Arrays | None = None
        self.metrics: dict[str, float] = {}
        self.sites: dict[int, dict[str, float]] = {}

    def initialize_parameters(self, client_manager: ClientManager) -> Parameters | None:
        return None

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: ClientManager):
        asked: list[tuple[ClientProxy, FitIns]] = [
            (GridClientProxy(node, self._view, run_id=0), FitIns(parameters, self._order))
            for node in self._view.get_node_ids()
        ]
        return asked

    def aggregate_fit(self, server_round, results: list[tuple[ClientProxy, FitRes]], failures):
        if not results:
            return None, {}
        answers = [answer for _, answer in results]  # each carries the same mean by now
        self.means = parameters_to_ndarrays(answers[0].parameters)
        for answer in answers:
            numbers = {name: float(value) for name, value in answer.metrics.items()}
            site = int(numbers.pop("site"))
            self.sites[site] = {**numbers, "examples": float(answer.num_examples)}
        weights = [answer.num_examples for answer in answers]
        for name in sorted(set.intersection(*(set(numbers) for numbers in self.sites.values())) - {"examples"}):
            self.metrics[name] = float(np.average([numbers[name] for numbers in self.sites.values()], weights=weights))
        return None, {}

    def configure_evaluate(self, server_round: int, parameters: Parameters, client_manager: ClientManager):
        return []

    def aggregate_evaluate(self, server_round, results: list[tuple[ClientProxy, EvaluateRes]], failures):
        return None, {}

    def evaluate(self, server_round: int, parameters: Parameters):
        return None


def is_masked_vector(message: Message) -> bool:
    """Tell whether a message asks a site for its masked update: its keys are shared by then."""
    records = message.content.config_records
    asked = records[RECORD_KEY_CONFIGS].get(Key.STAGE) if RECORD_KEY_CONFIGS in records else None
    return asked == Stage.COLLECT_MASKED_VECTORS


def fit_secretly(message: Message, learner: AbstractLearner, site: int) -> Message:
    """Let a site train, and return its update in the older records, which `secaggplus_mod` masks before it leaves.

    **Raises** `InputError`, which fails this site only, if it has more examples than the sum has room for.
    """
    order = compat.recorddict_to_fitins(message.content, keep_input=True)
    config = order.config
    before = dict(zip(json.loads(str(config["names"])), parameters_to_ndarrays(order.parameters), strict=True))
    fitted = learner.fit(before, round=int(config["round"]), steps=int(config["steps"]))
    if list(fitted.arrays) != list(before):
        raise InputError("secure aggregation needs every array of every site; the learner returned others")
    weight = 1 if config["equal"] else round(fitted.weight)
    top = 1.0 if config["equal"] else float(config["max_weight"])
    if not 0 < weight <= top:
        raise InputError(
            f"a site with {weight} examples does not fit secure.max_weight {top:g}; raise it", param="secure"
        )
    update = difference(fitted.arrays, before)
    answer = FitRes(
        Status(Code.OK, ""),
        ndarrays_to_parameters([values.ravel() for values in update.values()]),  # Flower forgets the offset of 0-d ones
        weight,
        {**fitted.metrics, "site": site, "cut": _cut(update, float(config["clip"]) * top / weight)},
    )
    return Message(compat.fitres_to_recorddict(answer, keep_input=False), reply_to=message)


def _cut(update: Arrays, limit: float) -> float:
    """Return the share of numbers that are cut, since they leave the range."""
    outside = sum(int((np.abs(values) > limit).sum()) for values in update.values())
    return outside / max(1, sum(values.size for values in update.values()))
