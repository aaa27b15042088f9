"""The checks find nothing in the worlds of this package, and each finds its fault in a world that has it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from edgegen.papers import aaas, industrial_marl
from edgegen.sim import checks, environment, epochs

KEY = jax.random.key(0)


class Sound(epochs.AbstractWorld):
    """A sum of draws, with a switch for every fault."""

    first: jax.Array
    fault: str = eqx.field(static=True, default="")
    length: int = eqx.field(static=True, default=6)

    def chance(self, key):
        return jax.random.uniform(key)

    def start(self):
        return self.first, jnp.int32(0)

    def restart(self, state):
        return state if self.fault == "restart" else self.start()

    def advance(self, state, chance):
        total, count = state
        live = count < (0 if self.fault == "nothing to decide" else 4)
        name = "value" if self.fault == "twice" else "drawn"
        return (total + chance, count + 1), chance, live, {name: chance}

    def view(self, state, event):
        return state[0]

    def step(self, state, event, action):
        total, count = state
        earned = total * action
        if self.fault == "not finite":
            earned = earned / jnp.where(count == 3, 0.0, 1.0)
        return (total, count), {"value": earned}


def twice(view, key):
    return jnp.float64(2.0)


def test_sound_worlds_have_no_faults():
    assert checks.faults(Sound(jnp.float64(1.0)), twice, key=KEY) == []
    assert checks.faults(aaas.draw(KEY, rate_hz=5e-5), aaas.at_random, key=KEY) == []


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("restart", "a restart is not as good as a start"),
        ("twice", "both advance and step write the entry 'value'"),
        ("not finite", "the entry 'value' is not finite"),
        ("nothing to decide", "the episode ends before its first decision"),
    ],
)
def test_a_fault_is_named(fault, sentence):
    assert sentence in checks.faults(Sound(jnp.float64(1.0), fault=fault), twice, key=KEY)


def test_sound_environments_have_no_faults_and_others_are_named():
    pool = aaas.draw(KEY, rate_hz=5e-5)
    factory = industrial_marl.draw(KEY, slots=5)
    assert checks.environment_faults(environment.Environment(factory, industrial_marl.CODEC), key=KEY) == []
    nothing = environment.Codec(
        observe=lambda view: aaas.observe(view) / 0.0,
        allowed=lambda view: jnp.zeros_like(view.fits),
        decode=lambda view, action: action,
        actions=7,
        weights=aaas.WEIGHTS,
    )
    found = checks.environment_faults(environment.Environment(pool, nothing), key=KEY)
    assert "the next observation is not finite" in found
    assert "the first observation allows no action" in found
    assert "the mask is of 20 actions, the codec of 7" in found


def test_what_is_missing_is_what_is_neither_gone_nor_there():
    ledger = {"in": jnp.array([2.0, 3.0]), "out": jnp.array([1.0, 1.0])}
    assert checks.missing(ledger, ["in"], ["out"], there=3.0) == 0
    assert checks.missing(ledger, ["in"], ["out"]) == 3
