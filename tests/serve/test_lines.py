"""Clients that are slow, silent or immoderate, over real sockets: each is given up, and nobody else notices."""

import contextlib
import json
import resource
import socket
import ssl
import subprocess
import threading
import time

import httpx
import pytest

from edgegen.core.errors import ConfigError
from edgegen.serve import guard, lines
from edgegen.serve.routes import observe
from edgegen.serve.run import Tls, in_thread
from edgegen.serve.workers import patience

BODY = {"prompt": "a red circle", "edgegen": {"steps": 1}}


@pytest.fixture
def live(make_gateway, monkeypatch):
    monkeypatch.setattr(lines, "HEAD_S", 0.3)
    monkeypatch.setattr(lines, "READ_S", 0.3)
    monkeypatch.setattr(guard, "BODY_S", 0.3)
    monkeypatch.setattr(observe, "_SEND_TIMEOUT_S", 0.3)
    with in_thread(make_gateway(maker="inside")) as live:
        yield live


def connect(live, **options):
    address = httpx.URL(live.url)
    return socket.create_connection((address.host, address.port), timeout=5, **options)


def heard(sock) -> bytes:
    """Everything until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: "])
def test_a_client_that_never_ends_its_head_is_given_up(live, said):
    with connect(live) as sock:
        sock.sendall(said)
        began_s = time.monotonic()
        answer = heard(sock)
        assert answer.startswith(b"HTTP/1.1 408")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
        assert time.monotonic() - began_s < 2.0


def test_a_second_request_that_trickles_in_is_given_up_too(live):
    with connect(live) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /healthz HT")
        assert b"408" in heard(sock)


def test_a_head_without_end_is_refused_before_it_fills_the_memory(live):
    with connect(live) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                sock.sendall(b"x-more: " + b"a" * 4000 + b"\r\n")
        assert lines.MAX_HEAD_BYTES < 400_000
        sock.settimeout(5)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            assert b" 431 " in heard(sock)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_trickles_is_given_up(live, chunked):
    length = b"transfer-encoding: chunked" if chunked else b"content-length: 1000"
    with connect(live) as sock:
        sock.sendall(b"POST /v1/images/generations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n")
        sock.sendall(length + b"\r\n\r\n" + (b"1\r\n{\r\n" if chunked else b"{"))
        answer = sock.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408")


def test_a_slow_body_within_its_time_is_fine(live):
    text = json.dumps(BODY).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
    with connect(live) as sock:
        sock.sendall(head.encode() + text[:10])
        time.sleep(0.15)
        sock.sendall(text[10:])
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_connections_are_bounded_and_come_free_again(live, monkeypatch):
    monkeypatch.setattr(lines, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(lines, "HEAD_S", 5.0)
    with contextlib.ExitStack() as crowd:
        for _ in range(8):
            crowd.enter_context(connect(live))
        time.sleep(0.1)
        with connect(live) as late:
            answer = heard(late)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in answer
    time.sleep(0.1)
    assert httpx.get(f"{live.url}/healthz").status_code == 200


def test_a_client_that_reads_nothing_is_given_up(live):
    """It asks for large pictures and never looks at them."""
    body = json.dumps({"prompt": "a red circle", "n": 8, "size": "1024x1024", "edgegen": {"steps": 1}}).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    address = httpx.URL(live.url)
    sock.connect((address.host, address.port))
    with sock:
        for _ in range(40):
            sock.sendall(head.encode() + body)
        until_s = time.monotonic() + 15
        with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012 - the reset comes when it comes
            while time.monotonic() < until_s:
                time.sleep(0.1)
                sock.sendall(b"x")
    assert httpx.get(f"{live.url}/healthz").status_code == 200


def test_a_listener_that_reads_nothing_gives_its_place_to_others(live):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    address = httpx.URL(live.url)
    sock.connect((address.host, address.port))
    with sock:
        sock.sendall(b"GET /v1/events HTTP/1.1\r\nhost: a\r\n\r\n")
        until_s = time.monotonic() + 5
        while not live.runtime.bus.listeners:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        text = {"id": "img_0", "filler": "x" * 50_000}
        until_s = time.monotonic() + 20
        while live.runtime.bus.listeners:
            assert time.monotonic() < until_s, "it holds its place"
            live.runtime.bus.publish("progress", text)
            time.sleep(0.02)


async def test_a_worker_that_lives_and_makes_nothing_fails_its_picture(monkeypatch):
    import asyncio

    from edgegen.serve.workers.instant import InstantWorker
    from edgegen.serve.workers.messages import Job, Pace
    from edgegen.serve.workers.protocol import JobError

    monkeypatch.setattr(patience, "SILENCE_S", 0.2)
    worker = InstantWorker("edge-1")
    await worker.open(on_lost=lambda reason: None, on_joined=lambda: None)
    slow = Job("img_1", "shapes-s", "a red circle", 8, 1, pace=Pace(step_s=0.1))
    report = await patience.run(worker, slow, lambda progress: None, predicted_s=0.0)
    assert report.id == "img_1", "every step is a word"
    stuck = Job("img_2", "shapes-s", "a red circle", 8, 1, pace=Pace(step_s=30.0))
    with pytest.raises(JobError, match="said nothing") as caught:
        await asyncio.wait_for(patience.run(worker, stuck, lambda progress: None, predicted_s=0.0), 5.0)
    assert caught.value.retry


def test_memory_stays_bounded_while_clients_send_far_more_than_fits(make_gateway):
    """Ten times the capacity for some seconds: everybody is answered, and what is kept does not grow."""

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    with in_thread(make_gateway(step_s=0.02, maker="inside")) as live:
        answers: list[int] = []
        stop = threading.Event()

        def crowd(number: int) -> None:
            with httpx.Client(base_url=live.url, timeout=30) as client:
                while not stop.is_set():
                    answer = client.post("/v1/images/generations", json={**BODY, "n": 8, "edgegen": {"steps": 16}})
                    answers.append(answer.status_code)
                    assert answer.status_code in (200, 429), answer.text
                    assert answer.status_code == 200 or int(answer.headers["retry-after"]) >= 1

        threads = [threading.Thread(target=crowd, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(2.0)
        before = resident()
        longest = 0
        until_s = time.monotonic() + 5.0
        while time.monotonic() < until_s:
            longest = max(longest, len(live.runtime.dispatcher.waiting))
            time.sleep(0.05)
        grown = resident() - before
        stop.set()
        for thread in threads:
            thread.join()
    assert answers.count(429) > 5 * answers.count(200) > 0
    assert longest <= live.runtime.dispatcher.max_waiting
    assert grown < 30e6, f"{grown / 1e6:.0f} MB"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-keyout", str(key), "-out", str(cert)]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return str(cert), str(key)


def test_it_serves_https_and_says_so(make_gateway, certificate):
    with in_thread(make_gateway(maker="inside"), tls=Tls(*certificate)) as live:
        assert live.url.startswith("https://")
        answer = httpx.post(
            f"{live.url}/v1/images/generations",
            json={**BODY, "response_format": "url"},
            verify=ssl.create_default_context(cafile=certificate[0]),
        )
        assert answer.json()["data"][0]["url"].startswith(live.url)
        assert "max-age" in answer.headers["strict-transport-security"]
        with pytest.raises(httpx.HTTPError):
            httpx.get(live.url.replace("https", "http") + "/healthz")


def test_a_certificate_that_cannot_be_used_is_said(make_gateway, certificate, tmp_path):
    other = tmp_path / "other.pem"
    other.write_text("nothing")
    for tls in (Tls(certificate[0], str(other)), Tls(str(tmp_path / "none.pem"), certificate[1])):
        with pytest.raises(ConfigError, match="two files in PEM"), in_thread(make_gateway(maker="inside"), tls=tls):
            pass


def test_every_answer_has_the_secure_headers(live):
    for path in ("/", "/v1/nodes", "/nothing"):
        headers = httpx.get(f"{live.url}{path}").headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
