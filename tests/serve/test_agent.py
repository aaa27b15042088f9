"""An agent that was trained in the simulator decides in a live gateway, unchanged."""

import httpx
import jax
import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.experiments.training import card, on_fleet
from edgegen.learn import agent
from edgegen.learn.ppo import PPO
from edgegen.learn.training import Budget, train
from edgegen.registry import load_policy
from edgegen.serve.run import in_thread


@pytest.fixture
def path(tmp_path, small):
    """A file with an agent that has learnt a little on the fleet of the tests."""
    config, machines = small
    learner = PPO(environments=8, length=16, epochs=1, minibatches=1)
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        place = on_fleet(
            learner.environments, config, rate_hz=20.0, horizon_s=10.0, episodes=2, seed=0, machines=machines
        )
        budget = Budget(steps=40 * learner.steps_per_iteration)
        trained = train(learner, place.environments, key=jax.random.key(0), budget=budget, chunk=40)
        path = tmp_path / "small.agent"
        agent.save(path, agent.Agent(trained.actor, place.codec), card(place, "ppo", trained, seed=0))
    return path


def test_the_gateway_obeys_a_trained_agent(make_gateway, path):
    with in_thread(make_gateway(policy=str(path))) as live, httpx.Client(base_url=live.url, timeout=30) as client:
        reasons, places = [], set()
        for number in range(6):
            body = {"prompt": "a red circle", "edgegen": {"deadline_ms": 4000, "seed": number}}
            answer = client.post("/v1/images/generations", json=body)
            assert answer.status_code == 200, answer.text
            item = answer.json()["edgegen"]["items"][0]
            reasons.append(item["reason"])
            places.add((item["node"], item["model"], item["steps"]))
    assert all(f"Decided by {path}" in reason for reason in reasons)
    assert not any("failed" in reason or "cannot run" in reason for reason in reasons)
    # What the gateway did is what the agent says of an idle fleet of this size.
    told = agent.card_of(path)
    assert told.system == "fleet"
    assert told.actions == np.prod([told.settings[name] for name in ("nodes", "models", "steps")])
    assert places


def test_an_agent_of_another_system_is_refused(path):
    line, payload = path.read_bytes().split(b"\n", 1)
    path.write_bytes(line.replace(b'"system":"fleet"', b'"system":"aaas"') + b"\n" + payload)
    with pytest.raises(InputError, match="decides in the system 'aaas'"):
        load_policy(str(path))
