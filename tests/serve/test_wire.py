"""Bad input, as pydantic sees it and as the answer says it."""

import pydantic
import pytest

from edgegen.core.errors import BusyError, InfeasibleError, InputError, UnknownNameError, WorkerError
from edgegen.generate.grammar import parse
from edgegen.serve.problems import problem_of, problem_of_validation
from edgegen.serve.wire import FIELDS, ImageBody, PlanBody, usage

OK = {"prompt": "a red circle"}
# body, the field that is named, a part of the message
WRONG = {
    "no prompt": ({}, "prompt", "prompt is required"),
    "prompt of the wrong type": ({"prompt": 3}, "prompt", "should be a valid string, got 3"),
    "prompt without an end": ({"prompt": "red " * 2000}, "prompt", "at most 4000 characters"),
    "n too small": ({**OK, "n": 0}, "n", "greater than or equal to 1, got 0"),
    "n too large": ({**OK, "n": 9}, "n", "less than or equal to 8, got 9"),
    "n as text": ({**OK, "n": "2"}, "n", "should be a valid integer, got '2'"),
    "n with a fraction": ({**OK, "n": 1.5}, "n", "valid integer"),
    "n as a boolean": ({**OK, "n": True}, "n", "valid integer"),
    "an unknown size": ({**OK, "size": "63x64"}, "size", "'256x256'"),
    "another format": ({**OK, "output_format": "webp"}, "output_format", "should be 'png', got 'webp'"),
    "a quality level": ({**OK, "quality": "high"}, "quality", "should be 'auto', got 'high'"),
    "a transparent background": ({**OK, "background": "transparent"}, "background", "'auto' or 'opaque'"),
    "a style": ({**OK, "style": "vivid"}, "style", "style is not supported: describe"),
    "a mask": ({**OK, "mask": "..."}, "mask", "mask is not supported"),
    "moderation": ({**OK, "moderation": "low"}, "moderation", "moderation is not supported"),
    "a misspelt field": ({**OK, "promt": "x"}, "promt", "did you mean 'prompt'?"),
    "too many partial images": ({**OK, "partial_images": 4}, "partial_images", "less than or equal to 3"),
    "an extension that is no object": ({**OK, "edgegen": []}, "edgegen", "valid dictionary"),
    "a misspelt extension field": (
        {**OK, "edgegen": {"deadline": 5}}, "edgegen.deadline", "did you mean 'deadline_ms'?"
    ),
    "a deadline as text": ({**OK, "edgegen": {"deadline_ms": "1 s"}}, "edgegen.deadline_ms", "valid number, got '1 s'"),
    "no time at all": ({**OK, "edgegen": {"deadline_ms": 0}}, "edgegen.deadline_ms", "greater than 0, got 0"),
    "a quality beyond one": ({**OK, "edgegen": {"min_quality": 1.2}}, "edgegen.min_quality", "less than or equal to 1"),
    "steps in words": ({**OK, "edgegen": {"steps": "few"}}, "edgegen.steps", "should be 'auto' or should be a valid integer"),
    "no steps": ({**OK, "edgegen": {"steps": 0}}, "edgegen.steps", "greater than or equal to 1"),
    "an unknown tier": ({**OK, "edgegen": {"tiers": ["moon"]}}, "edgegen.tiers.0", "'device', 'edge' or 'cloud'"),
    "no tier": ({**OK, "edgegen": {"tiers": []}}, "edgegen.tiers", "at least 1 item"),
    "nodes as text": ({**OK, "edgegen": {"nodes": "edge-1"}}, "edgegen.nodes", "valid list"),
    "a negative seed": ({**OK, "edgegen": {"seed": -1}}, "edgegen.seed", "greater than or equal to 0"),
    "a worth below zero": ({**OK, "edgegen": {"weights": {"time": -1}}}, "edgegen.weights.time", "greater than or equal"),
    "an unknown worth": ({**OK, "edgegen": {"weights": {"tme": 1}}}, "edgegen.weights.tme", "did you mean 'time'?"),
    "two mistakes": ({**OK, "n": 0, "size": "x"}, "n", "(and 1 more wrong fields)"),
    "a policy outside of a plan": ({**OK, "edgegen": {"policy": "planner"}}, "edgegen.policy", "no field named 'policy'"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "param", "part"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_body_is_answered_with_its_field_and_what_was_expected(body, param, part):
    with pytest.raises(pydantic.ValidationError) as caught:
        ImageBody.model_validate(body)
    problem = problem_of_validation(caught.value.errors(), FIELDS)
    assert (problem.status, problem.param) == (400, param)
    assert part in problem.message
    assert len(problem.message) < 400
    assert problem.body()["error"]["type"] == "invalid_request_error"


def test_what_openai_clients_send_by_default_is_accepted():
    body = ImageBody.model_validate(
        {**OK, "model": None, "n": None, "size": None, "quality": None, "response_format": None, "stream": None,
         "partial_images": None, "output_format": None, "background": None, "user": "somebody"}
    )  # fmt: skip
    assert body.side == 64


def test_a_plan_may_name_its_policy():
    assert PlanBody.model_validate({**OK, "edgegen": {"policy": "planner"}}).edgegen.policy == "planner"


ERRORS = {
    "infeasible": (InfeasibleError("too soon", offer={"node": "edge-1"}), 400, "infeasible"),
    "busy": (BusyError("full", retry_after_s=0.2), 429, "queue_full"),
    "unknown model": (UnknownNameError("model", "x", ["y"], param="model"), 404, "model_not_found"),
    "unknown node": (UnknownNameError("node", "x", ["y"], param="edgegen.nodes"), 400, "unknown_name"),
    "input": (InputError("no", param="n"), 400, "invalid_value"),
    "worker": (WorkerError("gone"), 503, "worker_failed"),
}


@pytest.mark.parametrize(("error", "status", "code"), ERRORS.values(), ids=ERRORS.keys())
def test_every_error_has_its_answer(error, status, code):
    problem = problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert str(error) in problem.message


def test_details_travel_with_the_error():
    assert problem_of(ERRORS["infeasible"][0]).body()["error"]["offer"] == {"node": "edge-1"}
    assert problem_of(ERRORS["busy"][0]).headers == {"Retry-After": "1"}


def test_words_outside_of_the_grammar_come_back_with_the_known_ones():
    with pytest.raises(Exception, match="unicorn") as caught:
        parse("a purple unicorn")
    error = problem_of(caught.value).body()["error"]
    assert error["param"] == "prompt"
    assert error["unknown_words"] == ["unicorn"]
    assert "circle" in error["known_words"]


def test_usage_counts_words_and_patches():
    assert usage("a red circle", 256, 2) == {
        "input_tokens": 3,
        "output_tokens": 2 * 16 * 16,
        "total_tokens": 3 + 512,
        "input_tokens_details": {"text_tokens": 3, "image_tokens": 0},
    }
