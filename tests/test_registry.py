import pytest

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.core.policy import AbstractPolicy
from edgegen.plan.rules import FixedSteps
from edgegen.registry import load_policy, policies, policy_names


@pytest.mark.parametrize("name", policy_names())
def test_every_registered_name_loads_a_policy_that_is_described(name):
    assert isinstance(load_policy(name), AbstractPolicy)
    entry = next(entry for entry in policies() if entry.name == name)
    assert entry.summary.endswith(".")


def test_options_are_given_after_the_name():
    policy = load_policy("fixed-steps:steps=4")
    assert isinstance(policy, FixedSteps)
    assert policy.steps == 4


def test_unknown_names_and_options_are_refused_with_what_is_known():
    with pytest.raises(UnknownNameError, match="did you mean 'planner'"):
        load_policy("planer")
    with pytest.raises(InputError, match="takes steps, model; got 'step=4'"):
        load_policy("fixed-steps:step=4")
    with pytest.raises(InputError, match="steps must be a number, got 'many'"):
        load_policy("fixed-steps:steps=many")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("certified:budget_ms=-1", "policy 'certified': budget_ms must be greater than 0, got -1"),
        ("certified:effort=1.5", "policy 'certified': effort must be a whole number, got 1.5"),
        ("planner:effort=1000000", "policy 'planner': effort must be from 1 to 5000, got 1000000"),
    ],
)
def test_a_value_that_a_policy_refuses_is_told_in_a_sentence(spec, said):
    with pytest.raises(InputError, match=said) as caught:
        load_policy(spec)
    assert caught.value.param == "policy"
