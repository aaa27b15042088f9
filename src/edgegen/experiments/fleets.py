"""The fleet of a configuration as a world of the simulator: where a policy for the gateway is trained and tried out."""

from edgegen.assemble import build_fleet
from edgegen.config import Config
from edgegen.core.errors import InputError
from edgegen.dispatch.books import idle
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.fleet import Fleet as Machines
from edgegen.experiments.arrivals import draw_asks, to_requests
from edgegen.sim.fleet import Fleet

REQUESTS = 256


def fleet_world(
    config: Config,
    *,
    rate_hz: float,
    horizon_s: float,
    requests: int = REQUESTS,
    seed: int = 0,
    machines: Machines | None = None,
) -> Fleet:
    """Return the fleet of a configuration, with a menu of so many requests as the demo makes them.

    Every node holds the models that it loads when it joins a gateway. `machines` are in place of those that the profiles of
    the configuration give.

    **Raises** `InputError` for a configuration without a device, where no request can come from.
    """
    catalog = Catalog(machines or build_fleet(config))
    origins = [device.name for device in catalog.devices]
    if not origins:
        raise InputError("the configuration has no node of tier 'device'; requests come from devices", param="nodes")
    asks = draw_asks(requests, seconds=1.0, origins=origins, seed=seed)
    rows = [catalog.row(request) for request in to_requests(config, asks)]
    return Fleet.of(catalog.state(rows, 0.0, idle(catalog)), rate_hz=rate_hz, horizon_s=horizon_s)
