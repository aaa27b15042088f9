"""Gateways for tests: a whole one on a real socket, and one inside of the test for what needs no socket."""

import dataclasses
import json
from collections.abc import Callable, Iterator

import pytest

from edgegen.assemble import Measured, build_fleet
from edgegen.config import Config, StorageSection, parse_config
from edgegen.dispatch.fleet import Fleet, Speed
from edgegen.serve.assembly import Gateway
from edgegen.serve.compose import compose
from edgegen.serve.run import Live, in_thread
from edgegen.serve.storage.place import Storage
from serve import databases

STEPS = [1, 2, 4, 8, 16]
CONFIG = """
[gateway]
steps = [1, 2, 4, 8, 16]
max_waiting = 16
payload = { input = "2 kB", output = "20 kB" }
[[models]]
name = "shapes-s"
[[models]]
name = "shapes-m"
[[nodes]]
name = "phone"
tier = "device"
models = ["shapes-s"]
slowdown = 20.0
power = "4 W"
transmit_power = "0.8 W"
[[nodes]]
name = "edge-1"
tier = "edge"
models = ["shapes-s", "shapes-m"]
slowdown = 4.0
power = "60 W"
price = "0.0001 USD/s"
link = { uplink = "40 Mbit/s", downlink = "80 Mbit/s", rtt = "4 ms" }
[[nodes]]
name = "edge-2"
tier = "edge"
models = ["shapes-m"]
slowdown = 3.0
power = "90 W"
link = { uplink = "40 Mbit/s", downlink = "80 Mbit/s", rtt = "4 ms" }
"""


def small_config() -> Config:
    """Return a device and two edge servers."""
    return parse_config(CONFIG, source="the tests' configuration")


def measured_fleet(config: Config) -> Fleet:
    """Return the fleet of a configuration with made-up measurements: the larger model is slower and better."""

    def measured(step_s: float, half: float) -> Measured:
        quality = tuple(tuple(count / (count + half * (1 + row)) for count in STEPS) for row in range(4))
        return Measured(quality, 10e6, Speed(step_s, step_s, 0.02))

    return build_fleet(config, {"shapes-s": measured(0.0005, 2.0), "shapes-m": measured(0.002, 0.5)})


def slow(fleet: Fleet, step_s: float) -> Fleet:
    """Return a fleet whose every step lasts so long."""
    nodes = [
        dataclasses.replace(node, speeds={name: Speed(step_s, 0.0, 0.0) for name in node.speeds})
        for node in fleet.nodes
    ]
    return dataclasses.replace(fleet, nodes=tuple(nodes))


@pytest.fixture
def small() -> tuple[Config, Fleet]:
    """A configuration and its fleet."""
    return small_config(), measured_fleet(small_config())


@pytest.fixture
def config_text() -> str:
    """The configuration as TOML, for a gateway in a process of its own."""
    return CONFIG


@pytest.fixture
def fleet_text() -> str:
    """Its fleet as JSON."""
    return json.dumps(measured_fleet(small_config()).to_dict())


@pytest.fixture
def make_gateway() -> Callable[..., Callable[[], Gateway]]:
    """Return a maker of gateways: `make_gateway(step_s=..., maker=..., **options)`."""

    def prepare(*, config: Config | None = None, step_s: float | None = None, maker: str = "instant", **options):
        chosen = config or small_config()
        fleet = measured_fleet(chosen)
        if step_s is not None:
            fleet = slow(fleet, step_s)
        return lambda: compose(chosen, fleet, maker=maker, **options)

    return prepare


@pytest.fixture(scope="module")
def live_gateway(tmp_path_factory) -> Iterator[Live]:
    """A real gateway on a real socket, whose worker processes run the built-in models; `.url` is its address."""
    config, folder = small_config(), tmp_path_factory.mktemp("storage")
    section = StorageSection(url=f"sqlite:///{folder / 'edgegen.db'}", blobs=str(folder / "blobs"))
    with in_thread(lambda: compose(config, build_fleet(config), storage=Storage.of(section, {}))) as live:
        yield live


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[databases.Server]:
    """A real PostgreSQL; skipped only where none is installed."""
    binaries = databases.find_binaries()
    if binaries is None:
        pytest.skip(databases.MISSING)
    with databases.postgresql(binaries) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> Iterator[str]:
    """An empty database of each kind: what is promised holds on both."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'edgegen.db'}"
        return
    server = request.getfixturevalue("postgresql_server")
    url = server.fresh()
    yield url
    server.drop(url)
