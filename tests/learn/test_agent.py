"""Agents in files: the same decisions after a round trip, and a sentence for every file that is not one."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.learn import agent, buffers, d2sac, dqn, off_policy, records, sac
from edgegen.learn.off_policy import Greedy
from edgegen.sim import epochs, probes
from edgegen.sim.environment import Observation

KEY = jax.random.key(0)
PROBE = probes.probes()["mask"]
CODEC = PROBE.environment.codec
CODECS = {"probe": lambda card: CODEC}
CARD = agent.Card("probe", "dqn", 3, 3, {"size": 4}, {"reward": 0.5}, {"seed": 0, "steps": 128})
ALGORITHMS = {
    "dqn": dqn.DQN(hidden=(4,)),
    "rainbow": dqn.DQN(worth=dqn.Categorical(), last=dqn.Noisy(), chooser=dqn.double, body=dqn.duelling, hidden=(4,)),
    "sac": sac.SAC(hidden=(4,)),
    "d2sac": d2sac.D2SAC(hidden=(4,)),
}


def agent_of(algorithm):
    params = algorithm.init_params(3, 3, key=KEY)
    return agent.Agent(Greedy(algorithm, algorithm.deployed(params)), CODEC)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "one.agent"
    agent.save(path, agent_of(ALGORITHMS["dqn"]), CARD)
    return path


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_agent_is_the_same_after_a_round_trip(name, tmp_path):
    mine, path = agent_of(ALGORITHMS[name]), tmp_path / "one.agent"
    agent.save(path, mine, dataclasses.replace(CARD, algorithm=name))
    again, card = agent.load(path, CODECS)
    assert eqx.tree_equal(mine, again)
    assert (card.algorithm, card.figures, card.provenance) == (name, {"reward": 0.5}, {"seed": 0, "steps": 128})
    assert agent.card_of(path) == card
    assert len(path.read_bytes()) < 30_000  # what is only needed for learning is left out


def test_an_agent_is_a_policy_of_its_world(path):
    mine, _ = agent.load(path, CODECS)
    run = epochs.simulate(PROBE.world, mine, epochs.draw(PROBE.world, KEY))
    seen = PROBE.observation(0)
    assert int(run.actions[0]) == int(mine.actor(seen, KEY)) != 2  # which is not allowed


def test_an_agent_of_single_precision_works_in_double(tmp_path):
    mine = agent_of(ALGORITHMS["dqn"])
    small = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == float else leaf, eqx.filter(mine, eqx.is_array)
    )
    agent.save(tmp_path / "a", eqx.combine(small, mine), CARD)
    again, _ = agent.load(tmp_path / "a", CODECS)
    assert {leaf.dtype for leaf in jax.tree.leaves(eqx.filter(again, eqx.is_array))} == {np.dtype(float)}
    assert int(again.actor(PROBE.observation(0), KEY)) in (0, 1)


def rewritten(path, change):
    """Change the header; the arrays stay."""
    line, payload = path.read_bytes().split(b"\n", 1)
    header = json.loads(line)
    change(header)
    path.write_bytes(json.dumps(header).encode() + b"\n" + payload)


def deep(header, key, value):
    """Replace the first class of that name anywhere in the actor."""

    def walk(plain):
        if isinstance(plain, dict):
            if plain.get("class", "").endswith(key):
                return value(plain)
            return {name: walk(inner) for name, inner in plain.items()}
        return [walk(inner) for inner in plain] if isinstance(plain, list) else plain

    header["actor"] = walk(header["actor"])


REFUSED = {
    "another system": (lambda h: h.update(system="prob"), "no system named 'prob'; did you mean 'probe'"),
    "other actions": (lambda h: h.update(actions=20), "chooses among 20 actions, the codec of probe has 3"),
    "no figures": (lambda h: h.pop("figures"), "lacks figures in its header"),
    "a later version": (
        lambda h: h.update(version=2),
        "version 2 of the format edgegen-agent, this release reads version 1",
    ),
    "a class of somebody else": (
        lambda h: deep(h, ":Plain", lambda p: {"class": "subprocess:Popen", "fields": {}}),
        "asks for subprocess:Popen, which is not part of edgegen.learn",
    ),
    "a class that is gone": (
        lambda h: deep(h, ":Plain", lambda p: {"class": "edgegen.learn.dqn:Gone", "fields": {}}),
        "asks for edgegen.learn.dqn:Gone, which this release does not have",
    ),
    "a function as a record": (
        lambda h: deep(h, ":Plain", lambda p: {"class": "edgegen.learn.files:write", "fields": {}}),
        "edgegen.learn.files:write is not a record",
    ),
    "other fields": (
        lambda h: deep(h, ":Plain", lambda p: {**p, "fields": {**p["fields"], "more": 1}}),
        "edgegen.learn.dqn:Plain has other fields in this release",
    ),
    "too few arrays": (
        lambda h: deep(h, ":Plain", lambda p: {"array": ["float64", [2]]}),
        "holds other arrays than expected",
    ),
    "no network": (lambda h: h.pop("actor"), "does not describe a network that this release can build"),
    "nonsense": (lambda h: h.update(actor={"what": 1}), "is not understood"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_foreign_files_are_refused_with_a_sentence(case, path):
    change, sentence = REFUSED[case]
    rewritten(path, change)
    with pytest.raises(InputError, match=sentence):
        agent.load(path, CODECS)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (lambda data: data[:-1], "is cut off"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "is damaged"),
        (lambda data: b"PK\x03\x04", "is not of the format edgegen-agent"),
        (lambda data: b"[1]\n", "is not of the format edgegen-agent"),
        (lambda data: b'{"format": "\xff"}\n', "is not of the format edgegen-agent"),
    ],
)
def test_damaged_files_are_refused_with_a_sentence(how, sentence, path):
    path.write_bytes(how(path.read_bytes()))
    with pytest.raises(InputError, match=sentence):
        agent.load(path, CODECS)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*none.agent"):
        agent.load(tmp_path / "none.agent", CODECS)


def test_what_cannot_be_written_is_refused_and_leaves_no_file(tmp_path):
    class Foreign(eqx.Module):
        def __call__(self, observation: Observation, key):
            return jnp.int32(0)

    with pytest.raises(InputError, match="cannot be written to a file: only what is defined in edgegen"):
        agent.save(tmp_path / "a", agent.Agent(Foreign(), CODEC), CARD)
    with pytest.raises(InputError, match="the card says 4 actions, the codec has 3"):
        agent.save(tmp_path / "a", agent_of(ALGORITHMS["dqn"]), dataclasses.replace(CARD, actions=4))
    assert list(tmp_path.iterdir()) == []


def test_a_learner_too_goes_through_plain_data():
    learner = off_policy.OffPolicy(ALGORITHMS["d2sac"], buffers.Prioritised(8))
    plain, arrays = records.to_plain(learner)
    again = records.from_plain(json.loads(json.dumps(plain)), arrays)
    assert again == learner
