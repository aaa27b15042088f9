"""Put a gateway together: policy, dispatcher, journal, workers, keys."""

import os
import time
from pathlib import Path

import structlog

from edgegen.config import Config
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.dispatcher import Dispatcher
from edgegen.dispatch.fleet import Fleet
from edgegen.dispatch.journal import FileJournal, Header, NoJournal
from edgegen.dispatch.rehearsal import rehearse
from edgegen.observe.tracing import AbstractTracer, NoTracer
from edgegen.registry import load_policy
from edgegen.serve.admission import Admission
from edgegen.serve.assembly import Gateway
from edgegen.serve.auth import Keys
from edgegen.serve.intake import Intake
from edgegen.serve.jobs.keeper import Jobs
from edgegen.serve.jobs.telling import Targets
from edgegen.serve.keyring import Keyring
from edgegen.serve.publishing import Publisher
from edgegen.serve.runtime import Runtime
from edgegen.serve.storage.place import Storage
from edgegen.serve.teller import Teller
from edgegen.serve.workers.entrance import Entrance
from edgegen.serve.workers.kinds import Maker, Site, make_worker

log = structlog.get_logger(__name__)


def compose(
    config: Config,
    fleet: Fleet,
    *,
    policy: str | None = None,
    journal: str | Path | None = None,
    maker: Maker = "builtin",
    keys: Keys | None = None,
    storage: Storage | None = None,
    tracer: AbstractTracer | None = None,
) -> Gateway:
    """Return a gateway that nobody has opened yet. `policy` and `keys` replace those of the configuration.

    Without a `storage` it takes no jobs and knows only the configured keys. **Raises** `UnknownNameError` for a policy
    that is not registered, `ConfigError` for keys that are too short.
    """
    name, settings = policy or config.policy.name, config.gateway
    header = Header.of(fleet, name, max_waiting=settings.max_waiting, ahead=settings.ahead)
    teller = Teller(FileJournal(journal, header, fsync=settings.fsync) if journal else NoJournal())
    catalog, chosen = Catalog(fleet), load_policy(name)
    began_s = time.monotonic()
    log.info("the policy rehearses; right after an installation this compiles for a while", policy=name)
    rehearse(chosen, catalog)
    log.info("the policy is ready", policy=name, seconds=round(time.monotonic() - began_s, 2))
    dispatcher = Dispatcher(
        catalog,
        chosen.within(config.policy.budget),
        policy_name=name,
        max_waiting=settings.max_waiting,
        ahead=settings.ahead,
        journal=teller,
    )
    folders = {model.name: model.folder for model in config.models if model.folder}
    site = Site(maker, folders)
    workers = {node.name: make_worker(config.node(node.name), site) for node in fleet.nodes}
    runtime = Runtime(
        dispatcher,
        workers,
        teller=teller,
        write_first=settings.fsync,
        keep=settings.keep_images,
        tick_s=settings.tick,
        tracing=tracer is not None and tracer.active,
    )
    keys = keys_of(config) if keys is None else keys
    keyring = Keyring(keys, storage.database if storage else None)
    admission = Admission(runtime, keyring, max_waiting=settings.max_waiting)
    intake, jobs = Intake(config), None
    if storage is not None:
        jobs = Jobs(runtime, intake, storage, config.jobs, Targets.of(config.jobs.webhooks))
        jobs.bill = admission.follow_job
    entrance = Entrance(settings.workers or None)
    return Gateway(
        runtime,
        intake,
        keys,
        keyring,
        admission,
        Publisher(config, runtime, intake),
        tracer or NoTracer(),
        storage=storage,
        jobs=jobs,
        entrance=entrance,
    )


def keys_of(config: Config) -> Keys:
    """Return the keys of the environment, or else those of the configuration."""
    named = Keys.from_environment(os.environ)
    return named if named else Keys(config.gateway.api_keys)
