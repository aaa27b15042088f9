"""One request's life as logs, traces and metrics tell it, and what they do not tell."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import structlog

from edgegen.observe.logs import set_up
from edgegen.observe.tracing import NO_SPAN, NoTracer, OtelTracer, otel_tracer
from edgegen.serve.auth import Keys
from edgegen.serve.quotas import Quota
from edgegen.serve.run import in_thread
from edgegen.serve.storage.blobs import Blobs
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.keys import KeyStore
from edgegen.serve.storage.place import Storage

ROOT = Path(__file__).parents[2]
BODY = {"prompt": "a red circle", "edgegen": {"steps": 8, "nodes": ["edge-1"]}}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@contextlib.contextmanager
def logged(level="debug"):
    stream, before = io.StringIO(), structlog.get_config()
    set_up(level, form="json", stream=stream)
    try:
        yield stream
    finally:
        structlog.configure(**before)


@pytest.fixture
def exported():
    """A tracer, and a function that returns what it has exported by name."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def spans(count=0):
        until_s = time.monotonic() + 5
        while len(found := exporter.get_finished_spans()) < count:
            assert time.monotonic() < until_s, [span.name for span in found]
            time.sleep(0.02)
        return {span.name: span for span in found}

    return OtelTracer(provider), spans


def test_every_line_about_a_request_carries_its_id(make_gateway):
    with logged() as stream, in_thread(make_gateway(step_s=0.001, maker="inside")) as live:
        answer = httpx.post(f"{live.url}/v1/images/generations", json=BODY)
        live.runtime.chores.catch_up()
    identifier = answer.headers["x-request-id"]
    assert answer.json()["edgegen"]["id"] == identifier
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    ours = [line for line in lines if line.get("request_id") == identifier]
    assert sorted((line["event"], line["status"]) for line in ours if line["event"] == "picture") == [
        ("picture", "finished"),
        ("picture", "started"),
    ]
    assert [line["status"] for line in ours if line["event"] == "http"] == [200]
    picture = answer.json()["edgegen"]["items"][0]["id"]
    assert not [line for line in lines if line.get("id") == picture and line not in ours]


def test_a_worker_that_stumbles_says_so_with_the_request_id():
    script = (
        "from edgegen.serve.workers.desk import Desk\n"
        "from edgegen.serve.workers.makers import InstantMaker\n"
        "from edgegen.serve.workers.messages import Job\n"
        "class Broken(InstantMaker):\n"
        "    def begin(self, job): raise ZeroDivisionError('by nothing')\n"
        "desk = Desk(Broken(), lambda line: None)\n"
        "desk.start(Job('img_1', 'shapes-s', 'a red circle', 1, 1, request_id='req_7'))\n"
        "while desk.advance() is not None: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    line = json.loads(done.stderr)
    assert (line["request_id"], line["id"], line["error"]) == ("req_7", "img_1", "ZeroDivisionError")
    assert "by nothing" in line["exception"]


def test_a_trace_leads_from_http_to_the_denoising_steps(make_gateway, exported):
    tracer, spans = exported
    with in_thread(make_gateway(step_s=0.02, maker="inside", tracer=tracer)) as live:
        answer = httpx.post(
            f"{live.url}/v1/images/generations", json=BODY, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        )
        assert answer.status_code == 200
        live.runtime.chores.catch_up()
        found = spans(7)
    http, picture, made = found["POST /v1/images/generations"], found["picture"], found["generate"]
    assert {f"{span.context.trace_id:032x}" for span in found.values()} == {TRACE}
    assert f"{http.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert picture.parent.span_id == http.context.span_id
    assert {"decision", "upload", "generate", "download"} <= found.keys()
    for name in ("decision", "upload", "generate", "download"):
        part = found[name]
        assert part.parent.span_id == picture.context.span_id
        assert picture.start_time - 5e6 <= part.start_time <= part.end_time <= picture.end_time + 5e6
    steps = [event.attributes["edgegen.step"] for event in made.events]
    assert steps == list(range(1, 9))
    assert all(made.start_time - 5e7 <= event.timestamp <= made.end_time + 5e7 for event in made.events)
    actual = answer.json()["edgegen"]["items"][0]["actual"]
    assert (made.end_time - made.start_time) / 1e9 == pytest.approx(actual["generate_s"], abs=1e-3)
    assert picture.attributes["edgegen.node"] == "edge-1"
    assert http.attributes["edgegen.request_id"] == answer.headers["x-request-id"]


def test_a_refused_picture_leaves_its_reason_in_the_trace(make_gateway, exported):
    tracer, spans = exported
    with in_thread(make_gateway(maker="inside", tracer=tracer)) as live:
        body = {"prompt": "a red circle", "edgegen": {"deadline_ms": 0.01}}
        assert httpx.post(f"{live.url}/v1/images/generations", json=body).status_code == 400
        live.runtime.chores.catch_up()
        picture = spans(2)["picture"]
    assert not picture.status.is_ok
    assert picture.attributes["edgegen.status"] == "refused"
    assert picture.status.description


def test_the_trace_is_handed_to_the_worker(make_gateway, exported):
    tracer, spans = exported
    with in_thread(make_gateway(maker="inside", tracer=tracer)) as live:
        worker, jobs = live.runtime.roads.workers["edge-1"], []
        run = worker.run
        worker.run = lambda job, on_progress: jobs.append(job) or run(job, on_progress)
        answer = httpx.post(f"{live.url}/v1/images/generations", json=BODY)
        live.runtime.chores.catch_up()
        picture = spans(2)["picture"]
    assert jobs[0].request_id == answer.headers["x-request-id"]
    assert (
        jobs[0].traceparent
        == f"00-{picture.context.trace_id:032x}-{picture.context.span_id:016x}-{picture.context.trace_flags:02x}"
    )


def test_what_is_not_traced_costs_nothing_and_loads_nothing():
    span = NoTracer().begin("name", None)
    assert span is NO_SPAN
    assert span.child("inside") is span
    began_s = time.perf_counter()
    for _ in range(10_000):
        span.child("a").event("b")
    assert (time.perf_counter() - began_s) / 10_000 < 2e-5
    script = "import sys, edgegen.serve.guard; sys.exit('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_collector_gets_the_spans_and_one_that_is_away_holds_nobody_up(make_gateway):
    pytest.importorskip("opentelemetry.sdk")
    got: list[tuple[str, int]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, len(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever).start()
        for endpoint in (f"http://127.0.0.1:{server.server_port}", "http://127.0.0.1:9"):
            prepared = make_gateway(maker="inside", tracer=otel_tracer(endpoint, patience_s=0.5))
            with in_thread(prepared) as live:
                began_s = time.monotonic()
                assert httpx.post(f"{live.url}/v1/images/generations", json=BODY).status_code == 200
                assert time.monotonic() - began_s < 3.0
        server.shutdown()
    assert [path for path, size in got if size > 100] == ["/v1/traces"]


def metric_names(text):
    return set(re.findall(r"^(edgegen_\w+?)(?:\{| )", text, flags=re.M))


def test_every_metric_that_the_dashboard_asks_for_exists(make_gateway, tmp_path):
    dashboard = json.loads((ROOT / "docs" / "grafana" / "edgegen.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(queries) >= 15
    with in_thread(make_gateway(maker="inside")) as live:
        httpx.post(f"{live.url}/v1/images/generations", json={**BODY, "edgegen": {"deadline_ms": 5000}})
        served = httpx.get(f"{live.url}/metrics").text
    families = set(re.findall(r"^# TYPE (\S+)", served, flags=re.M))
    known = metric_names(served) | families | {f"{name}_bucket" for name in families}
    asked = {name for query in queries for name in re.findall(r"\bedgegen_\w+", query)}
    assert sorted(asked - known) == []


def test_metrics_follow_what_happens(make_gateway):
    with in_thread(make_gateway(maker="inside")) as live, httpx.Client(base_url=live.url) as client:
        client.post("/v1/images/generations", json=BODY)
        client.post("/v1/images/generations", json={"prompt": "a red circle", "edgegen": {"deadline_ms": 0.01}})
        live.runtime.chores.catch_up()
        said = client.get("/metrics").text
    assert 'edgegen_refused_total{code="infeasible"} 1.0' in said
    assert 'edgegen_node_joined_total{node="edge-1"} 1.0' in said
    assert 'edgegen_prediction_ratio_count{node="edge-1"} 1.0' in said
    assert "edgegen_waiting 0.0" in said
    assert 'edgegen_key_pictures_total{key="everybody"} 1.0' in said


def test_no_secret_gets_into_logs_journal_or_answers(make_gateway, tmp_path):
    import asyncio

    url = f"sqlite:///{tmp_path}/edgegen.db"

    async def make():
        database = Database(url)
        await database.open()
        _, key = await KeyStore(database).add("ann", ["admin"], Quota(rate_per_s=1.0, burst=1))
        await database.close()
        return key

    key, configured, wrong = asyncio.run(make()), "a-configured-secret-0", "eg_0123456789ab_" + "q" * 52
    journal, answers = tmp_path / "journal.jsonl", []
    prepared = make_gateway(
        maker="inside",
        journal=journal,
        keys=Keys([configured]),
        storage=Storage(Database(url), Blobs(str(tmp_path / "blobs")), 3600.0),
    )
    with logged() as stream, in_thread(prepared) as live, httpx.Client(base_url=live.url) as client:
        for secret in (key, configured, wrong):
            headers = {"authorization": f"Bearer {secret}"}
            for body in (BODY, BODY, {"prompt": "a purple unicorn"}, {**BODY, "key": secret[:4]}):
                answers += [client.post("/v1/images/generations", json=body, headers=headers).text]
            answers += [
                client.get(path, headers=headers).text for path in ("/metrics", "/v1/requests", "/v1/usage", "/x")
            ]
    written = stream.getvalue() + journal.read_text() + "".join(answers)
    assert "rate_limit" in written
    assert '"kind":"Arrived"' in written
    for secret in (key, configured, wrong):
        assert secret not in written
        assert secret.rpartition("_")[2] not in written
    files = b"".join(path.read_bytes() for path in tmp_path.glob("edgegen.db*"))
    assert key.rpartition("_")[2].encode() not in files
