"""The published description against a running gateway: made-up requests of every kind, and no answer that is not described."""

import os

import httpx
import hypothesis
import pytest

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

OPERATIONS = [
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{identifier}"),
    ("DELETE", "/v1/jobs/{identifier}"),
    ("GET", "/v1/jobs/{identifier}/events"),
    ("POST", "/v1/plan"),
    ("GET", "/v1/images/{name}.png"),
    ("GET", "/v1/models"),
    ("POST", "/v1/models"),
    ("GET", "/v1/nodes"),
    ("GET", "/v1/policies"),
    ("GET", "/v1/grammar"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/requests"),
    ("GET", "/v1/requests/{identifier}"),
    ("POST", "/v1/workers/tokens"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
]
# A schema cannot say which words the models know, or which machines there are.
NOT_DESCRIBABLE = [checks.positive_data_acceptance]
CASES = int(os.environ.get("EDGEGEN_FUZZ_CASES", "30"))  # of every operation; `scripts/fuzz` sends thousands
ENDLESS = ("GET", "/v1/events")


@pytest.fixture(scope="module")
def described(live_gateway):
    return schemathesis.openapi.from_url(f"{live_gateway.url}/openapi.json")


def test_every_address_is_described_and_tried(live_gateway):
    paths = httpx.get(f"{live_gateway.url}/openapi.json").json()["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == {*OPERATIONS, ENDLESS}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_made_up_request_gets_a_described_answer(described, method, path):
    @hypothesis.given(case=described[path][method].as_strategy())
    @hypothesis.settings(max_examples=CASES)
    def check(case):
        case.call_and_validate(timeout=30, excluded_checks=NOT_DESCRIBABLE)

    check()


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/jobs", "/v1/plan"])
def test_a_prompt_that_is_understood_goes_further(described, path):
    @hypothesis.given(case=described[path]["POST"].as_strategy())
    @hypothesis.settings(max_examples=CASES)
    def check(case):
        case.body = {**case.body, "prompt": "a red circle", "model": "auto"}
        case.call_and_validate(timeout=30, excluded_checks=NOT_DESCRIBABLE)

    check()
