"""The Flower app: a ClientApp that lets a learner train and judge, and a ServerApp that runs the rounds.

One app for all three ways to run. Its messages are those of Flower's Message API; a message of secure aggregation goes
through Flower's own `secaggplus_mod`, which speaks the older records, to the same learner.

The run's configuration (`[tool.flwr.app.config]`, written by `folder.py`): `learner` names the factory as
`module:function`, `options` is JSON for it, `folder` is the server's folder of the run.
"""

import os
from collections.abc import Callable

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS
from flwr.serverapp import Grid, ServerApp

from edgegen.tune.federation.aggregators import WEIGHT
from edgegen.tune.federation.exchange import ARRAYS, CODING, CONFIG, METRICS
from edgegen.tune.federation.launch import ERROR, SERVER_PID, learner_of, read_launch
from edgegen.tune.federation.learners import AbstractLearner
from edgegen.tune.federation.rounds import run_rounds
from edgegen.tune.federation.secure import fit_secretly
from edgegen.tune.federation.transport import coding, difference, encode, received, values_of

Build = Callable[[Context], AbstractLearner]


def client_app(build: Build | None = None) -> ClientApp:
    """Return the app of a site; `build` makes its learner, by default the factory that the run's configuration names."""
    app, made = ClientApp(), {}

    def learner(context: Context) -> AbstractLearner:
        key = (context.run_id, context.node_id)
        if key not in made:
            made[key] = (build or learner_of)(context)
        return made[key]

    @app.train()
    def train(message: Message, context: Context) -> Message:
        site = int(context.node_config["partition-id"])
        if RECORD_KEY_CONFIGS in message.content.config_records:
            return secaggplus_mod(message, context, lambda m, c: fit_secretly(m, learner(c), site))
        return _fit(message, learner(context), site)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        arrays = received(message.content.array_records[ARRAYS], values_of(message.content.config_records[CONFIG]))
        numbers = {name: float(value) for name, value in learner(context).evaluate(arrays).items()}
        site = int(context.node_config["partition-id"])
        content = RecordDict({METRICS: MetricRecord({**numbers}), CODING: ConfigRecord({"site": site})})
        return Message(content, reply_to=message)

    return app


def server_app() -> ServerApp:
    """Return the app of the server: it reads the launch in the run's folder, and goes on with what that already holds."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        launch, start = read_launch(str(context.run_config["folder"]))
        (launch.folder / SERVER_PID).write_text(str(os.getpid()))
        try:
            run_rounds(grid, launch.settings, start, around=launch.around(), folder=launch.run_folder())
        except Exception as error:
            if (launch.folder / SERVER_PID).read_text() == str(os.getpid()):  # and no other has begun since
                (launch.folder / ERROR).write_text(f"{type(error).__name__}: {error}")
            raise

    return app


def _fit(message: Message, learner: AbstractLearner, site: int) -> Message:
    """Let a site train, and return its arrays, or with fewer bits the difference from what it was sent."""
    config = values_of(message.content.config_records[CONFIG])
    before = received(message.content.array_records[ARRAYS], config)
    number, bits = int(config["round"]), int(config["bits"])
    fitted = learner.fit(before, round=number, steps=int(config["steps"]))
    relative = bits < 32
    moved = difference(fitted.arrays, before)
    rng = np.random.default_rng((int(config["seed"]), number, 3, site))
    coded = encode(moved if relative else fitted.arrays, bits, rng)
    content = RecordDict(
        {
            ARRAYS: coded.record,
            METRICS: MetricRecord({**fitted.metrics, WEIGHT: float(fitted.weight)}),
            CODING: ConfigRecord({"site": site, "relative": relative, **coding(coded)}),
        }
    )
    return Message(content, reply_to=message)


client = client_app()  # the objects that the packed app names
server = server_app()
