import pytest

from edgegen.core.errors import BusyError, EdgegenError, InfeasibleError, InputError, UnknownNameError, suggest


def test_an_unknown_name_gets_the_closest_known_one():
    error = UnknownNameError("policy", "gready-cost", ["greedy-cost", "planner"], param="policy")
    assert "no policy named 'gready-cost'; did you mean 'greedy-cost'?" in str(error)
    assert error.param == "policy"
    assert error.known == ["greedy-cost", "planner"]


def test_nothing_close_means_no_suggestion():
    assert suggest("zzz", ["planner"]) == ""
    assert "known: none" in str(UnknownNameError("node", "x", []))


@pytest.mark.parametrize(
    "error", [InputError("x"), InfeasibleError("x", offer={"node": "edge-1"}), BusyError("x", retry_after_s=2.0)]
)
def test_one_base_catches_everything(error):
    assert isinstance(error, EdgegenError)
