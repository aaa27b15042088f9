"""A policy is asked before the first request, whatever it does then."""

import pytest

from dispatch.fleets import FLEET
from edgegen.core.decision import Decision
from edgegen.core.policy import HostPolicy
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.rehearsal import rehearse
from edgegen.registry import load_policy, policy_names

CATALOG = Catalog(FLEET)


def test_a_policy_sees_few_and_many_requests():
    seen = []
    rehearse(HostPolicy(lambda state, key: seen.append(int(state.tasks.live.sum())) or Decision.hold(state)), CATALOG)
    assert seen == [1, 2, HostPolicy.plans_at_once]


def test_an_error_is_kept_for_the_first_request():
    def wrong(state, key):
        raise RuntimeError("not today")

    rehearse(HostPolicy(wrong), CATALOG)


@pytest.mark.parametrize("name", policy_names())
def test_every_policy_can_rehearse(name):
    decided = []
    policy = load_policy(name)
    rehearse(HostPolicy(lambda state, key: decided.append(policy.decide(state)) or decided[-1]), CATALOG)
    assert all(decision.placed.any() for decision in decided)
