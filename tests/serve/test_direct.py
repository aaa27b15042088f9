"""The short way for requests for pictures gives the same answers as the framework's way."""

import json

import httpx
import pytest

from edgegen.serve.direct import Direct
from edgegen.serve.run import in_thread
from edgegen.serve.wire import ImageBody

PLAIN, LONG_WAY = "application/json", "application/json; charset=utf-8"
# What depends on the moment, or on what else is under way.
DIFFERS = {"id", "seed", "created", "url", "image_url", "b64_json", "predicted", "actual", "reason", "node", "tier"}
DIFFERS |= {"emulated", "model", "steps", "quality", "quality_estimate"}
BODIES = {
    "plain": b'{"prompt": "a red circle", "edgegen": {"nodes": ["edge-1"], "steps": 4}}',
    "two pictures": b'{"prompt": "a red circle", "n": 2}',
    "addresses": b'{"prompt": "a red circle", "response_format": "url"}',
    "another encoding": '{"prompt": "a red circle"}'.encode("utf-16"),
    "unknown word": b'{"prompt": "a red unicorn"}',
    "unknown model": b'{"prompt": "a red circle", "model": "shapes-xxl"}',
    "unknown field": b'{"prompt": "a red circle", "sizes": "64x64"}',
    "wrong type": b'{"prompt": "a red circle", "n": "2"}',
    "infeasible": b'{"prompt": "a red circle", "edgegen": {"deadline_ms": 0.001}}',
    "not a number": b'{"prompt": "a red circle", "edgegen": {"deadline_ms": NaN}}',
    "half a character": b'{"prompt": "a red \\ud800"}',
    "torn": b'{"prompt": "a red ci',
    "a list": b"[]",
    "nothing": b"",
}


@pytest.fixture(scope="module")
def client(request):
    from edgegen.serve.compose import compose
    from serve.conftest import measured_fleet, small_config

    config = small_config()
    with (
        in_thread(lambda: compose(config, measured_fleet(config), maker="inside")) as live,
        httpx.Client(base_url=live.url) as made,
    ):
        yield made


def steady(value):
    """An answer without what differs from one request to the next."""
    if isinstance(value, dict):
        return {key: steady(entry) for key, entry in value.items() if key not in DIFFERS}
    return [steady(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", BODIES)
def test_both_ways_answer_alike(client, name):
    post = [
        client.post("/v1/images/generations", content=BODIES[name], headers={"content-type": kind})
        for kind in (PLAIN, LONG_WAY)
    ]
    short, long = post
    assert short.status_code == long.status_code
    assert short.headers["content-type"] == long.headers["content-type"]
    if short.status_code == 200:
        assert steady(short.json()) == steady(long.json())
        assert short.json()["data"][0].keys() == long.json()["data"][0].keys()
    elif name != "infeasible":  # its offer depends on what is under way
        assert short.json() == long.json()


@pytest.mark.parametrize("kind", [None, "text/plain"])
def test_what_is_no_json_is_refused_as_ever(client, kind):
    headers = {"content-type": kind} if kind else {}
    answer = client.post("/v1/images/generations", content=BODIES["plain"], headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_body_that_goes_on_is_heard_again_to_the_end():
    heard = []

    async def app(scope, receive, send):
        while True:
            message = await receive()
            heard.append(message)
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                break
        heard.append(await receive())

    parts = [b'{"prompt": "a red circle", ', b'"stream": true}']
    messages = [{"type": "http.request", "body": part, "more_body": part is parts[0]} for part in parts]
    messages.append({"type": "http.disconnect"})
    left = iter(messages)

    async def receive():
        return next(left)

    scope = {"type": "http", "path": "/v1/images/generations", "method": "POST"}
    scope["headers"] = [(b"content-type", b"application/json")]
    await Direct(app, gateway=None)(scope, receive, None)
    assert heard == messages
    assert ImageBody.model_validate(json.loads(b"".join(parts))).stream
