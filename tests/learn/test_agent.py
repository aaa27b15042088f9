"""Trained agents as files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.learn import agent, presets, rollout
from edgegen.papers import aaas
from edgegen.sim.environment import Environment, Observation


@pytest.fixture(scope="module")
def card():
    return agent.Card(
        system="aaas",
        learner="sac",
        features=42,
        actions=20,
        settings={},
        figures={"reward": 1.5},
        provenance={"seed": 3},
    )


@pytest.fixture(scope="module")
def actor():
    with jax.enable_x64(False):
        learner = presets.learner("sac")
        world = Environment(aaas.published_pool(), aaas.CODEC)
        environments = rollout.repeat(world, presets.environments(learner))
        return learner.actor(learner.init(environments, key=jax.random.key(1)))


@pytest.fixture
def path(tmp_path, actor, card):
    return agent.save(tmp_path / "deep" / "sac.agent", actor, card)


def test_what_is_saved_is_loaded(path, actor, card):
    again, told = agent.load(path)
    assert told == card
    ours, theirs = jax.tree.leaves(actor), jax.tree.leaves(again)
    assert [np.asarray(leaf).dtype for leaf in ours] == [np.asarray(leaf).dtype for leaf in theirs]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    with jax.enable_x64(False):
        seen = Observation(features=jnp.linspace(0, 1, 42), allowed=jnp.ones(20, dtype=bool))
        assert int(actor(seen, None)) == int(again(seen, None))
    assert [file.name for file in path.parent.iterdir()] == ["sac.agent"]


def change(path, **fields):
    line, _, rest = path.read_bytes().partition(b"\n")
    told = json.loads(line) | fields
    path.write_bytes(json.dumps(told).encode() + b"\n" + rest)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "cannot read the agent"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01"), "is not an agent"),
        (lambda path: path.write_text('["edgegen agent"]\n'), "is not an agent"),
        (lambda path: change(path, format=9), "has format 9"),
        (lambda path: change(path, surprise=1), "has format 1"),
        (lambda path: change(path, learner="sack"), "did you mean 'sac'"),
        (lambda path: change(path, features=41), "are not those of its learner"),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "are not those of its learner"),
    ],
)
def test_what_is_no_agent_is_refused_with_a_sentence(path, spoil, message):
    spoil(path)
    with pytest.raises(InputError, match=message):
        agent.load(path)


def test_a_file_cannot_be_written_where_there_is_a_folder(tmp_path, actor, card):
    with pytest.raises(InputError, match="cannot write the agent"):
        agent.save(tmp_path, actor, card)
