"""Systems of papers as environments of Gymnasium and PettingZoo. Importing this module registers the names; needs the extra `gym`.

gymnasium.make("edgegen.experiments.environments:edgegen/ProviderSelection-v0")
gymnasium.make_vec("edgegen.experiments.environments:edgegen/ProviderSelection-v0", num_envs=64)
environments.offloading_devices(devices=6, servers=2)
"""

from typing import Any

import jax

from edgegen.papers import aaas, industrial_marl
from edgegen.sim.adapters.parallel import ParallelEnv
from edgegen.sim.adapters.registration import register
from edgegen.sim.environment import Codec, Environment


def provider_selection(*, instance: int | None = None, rate_hz: float = aaas.RATE_HZ) -> Environment:
    """Choose a provider for every task (`papers.aaas`): the instance of the source, or one that is drawn."""
    return _providers(aaas.CODEC, instance, rate_hz)


def masked_provider_selection(*, instance: int | None = None, rate_hz: float = aaas.RATE_HZ) -> Environment:
    """Do the same where only providers are allowed that the task fits, unless it fits nowhere."""
    return _providers(aaas.MASKED, instance, rate_hz)


def offloading_devices(*, instance: int = 0, **settings: Any) -> ParallelEnv:
    """Devices that share servers, one agent each (`papers.industrial_marl`); `settings` are those of its `draw`."""
    world = industrial_marl.draw(jax.random.key(instance), **settings)
    codec = industrial_marl.codec(world.server_hz.shape[0])
    return ParallelEnv(Environment(world, codec), name="edgegen_offloading_devices_v0")


def _providers(codec: Codec, instance: int | None, rate_hz: float) -> Environment:
    pool = aaas.published_pool(rate_hz) if instance is None else aaas.draw(jax.random.key(instance), rate_hz=rate_hz)
    return Environment(pool, codec)


register("edgegen/ProviderSelection-v0", f"{__name__}:provider_selection", limits=(0.0, 1.0))
register("edgegen/MaskedProviderSelection-v0", f"{__name__}:masked_provider_selection", limits=(0.0, 1.0))
