"""Webhooks: told once a job has ended, signed, again when it failed, and nobody but whom the configuration names."""

import base64
import contextlib
import http.server
import json
import threading
import time

import pytest

from edgegen.core.errors import ConfigError, InputError
from edgegen.serve.jobs import telling
from edgegen.serve.jobs.telling import Targets, signature, wait_s
from serve.conftest import small_config
from serve.jobs.gateways import BODY, Place, accepted, until

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers as it is told and remembers what it heard."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.heard.append((self.path, dict(self.headers), body))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, *arguments):
        del arguments


@contextlib.contextmanager
def receiver(*statuses: int):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.heard, server.statuses = [], list(statuses)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}/hooks/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def place(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv(telling.SECRET_NAME, SECRET)
    monkeypatch.setattr(telling, "FIRST_WAIT_S", 0.05)
    return Place(database_url, tmp_path / "blobs")


def told(client, job_id: str) -> dict:
    return until(client, job_id, lambda job: job["webhook"]["delivered_at"] is not None)


def test_a_receiver_hears_of_the_end_signed_and_again_until_it_takes_it(place):
    with receiver(500, 302) as (server, address), place.serving(webhooks=[address]) as client:
        job_id = accepted(client, {**BODY, "webhook": f"{address}one"})["id"]
        job = told(client, job_id)
    assert [path for path, _, _ in server.heard] == ["/hooks/one"] * 3, "a redirect is not followed"
    assert len({headers["webhook-id"] for _, headers, _ in server.heard}) == 1
    assert job["webhook"]["tries"] == 3
    for _, headers, body in server.heard:
        stamp = headers["webhook-timestamp"]
        assert abs(time.time() - int(stamp)) < 60
        assert headers["webhook-signature"] == signature(KEY, headers["webhook-id"], stamp, body)
    message = json.loads(server.heard[-1][2])
    assert message["type"] == "job.done"
    assert message["data"]["id"] == job_id
    assert message["data"]["items"] == job["items"]


def test_a_message_that_could_not_be_told_is_told_after_a_restart(place):
    with receiver(*[503] * 1000) as (server, address):
        with place.serving(webhooks=[address]) as client:
            job_id = accepted(client, {**BODY, "webhook": f"{address}one"})["id"]
            waiting = until(client, job_id, lambda job: job["webhook"]["trouble"])
            assert "503" in waiting["webhook"]["trouble"]
        server.statuses.clear()
        with place.serving(webhooks=[address]) as client:
            assert told(client, job_id)["webhook"]["trouble"] is None
    assert len({headers["webhook-id"] for _, headers, _ in server.heard}) == 1


def test_an_address_that_the_configuration_permits_no_more_is_not_told(place):
    with receiver(*[503] * 1000) as (server, address):
        with place.serving(webhooks=[address]) as client:
            job_id = accepted(client, {**BODY, "webhook": f"{address}one"})["id"]
            until(client, job_id, lambda job: job["webhook"]["trouble"])
        heard = len(server.heard)
        with place.serving(webhooks=["http://127.0.0.1:1/"]) as client:
            until(client, job_id, lambda job: "not an address" in job["webhook"]["trouble"])
        assert len(server.heard) == heard


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hooks/one",  # another scheme
        "https://example.com:8443/hooks/one",
        "https://example.com/hooksother",
        "https://example.com/hooks/../admin",
        "https://example.com/hooks/%2e%2e/admin",
        "https://example.com/hooks/%252e%252e/admin",
        "https://example.com@evil.example/hooks/one",
        "https://user:secret@example.com/hooks/one",
        "https://example.com.evil.example/hooks/one",
        "https://example.com\\@evil.example/hooks/one",
        "https://169.254.169.254/hooks/one",
        "file:///etc/passwd",
        "https://example.com/hooks/one#fragment",
        "https://example.com:port/hooks/one",
        "nonsense",
        "https://",
    ],
)
def test_nobody_is_told_whom_the_configuration_does_not_name(url):
    with pytest.raises(InputError) as refused:
        Targets(["https://example.com/hooks/"], KEY).check(url)
    assert refused.value.param == "webhook"


def test_whoever_the_configuration_names_is_told():
    targets = Targets(["https://example.com/hooks", "http://localhost:9000/"], KEY)
    for url in ("https://example.com/hooks", "https://EXAMPLE.com:443/hooks/a/b?c=d", "http://localhost:9000/any"):
        assert targets.check(url) == url
    with pytest.raises(InputError, match="tells nobody"):
        Targets([], b"").check("https://example.com/hooks")


def test_targets_need_a_secret_that_nobody_guesses():
    assert not Targets.of([], {})
    assert Targets.of(["https://example.com/"], {telling.SECRET_NAME: SECRET})
    for secret in (None, "whsec_c2hvcnQ=", "not base64!"):
        environment = {telling.SECRET_NAME: secret} if secret else {}
        with pytest.raises(ConfigError, match=telling.SECRET_NAME):
            Targets.of(["https://example.com/"], environment)
    with pytest.raises(ConfigError, match=r"jobs\.webhooks"):
        Targets(["example.com"], KEY)


def test_waits_grow_up_to_a_bound_and_are_not_the_same_for_all():
    waits = [[wait_s(tries) for _ in range(20)] for tries in range(1, telling.MAX_TRIES + 1)]
    middles = [sum(some) / len(some) for some in waits]
    assert middles[0] < telling.FIRST_WAIT_S * 1.5
    assert max(map(max, waits)) <= telling.LONGEST_WAIT_S
    assert all(later > earlier for earlier, later in zip(middles[:5], middles[1:6], strict=True))
    assert len(set(waits[3])) > 1


def test_the_default_configuration_tells_nobody():
    assert small_config().jobs.webhooks == []
