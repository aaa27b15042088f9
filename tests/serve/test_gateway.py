"""A whole gateway on a real socket with real worker processes, and what happens when things go wrong."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from edgegen.serve.run import in_thread

BODY = {"prompt": "a red circle", "edgegen": {"steps": 16}}
LONG = {"prompt": "a red circle", "edgegen": {"steps": 16, "nodes": ["edge-1"]}}


@pytest.fixture
def slow(make_gateway):
    """A gateway whose pictures of 16 steps take more than a second and a half."""
    with in_thread(make_gateway(step_s=0.1)) as live, httpx.Client(base_url=live.url, timeout=30) as client:
        yield live, client


def post_in_thread(live, body, *, patience_s: float = 30.0) -> tuple[threading.Thread, list[httpx.Response]]:
    answers: list[httpx.Response] = []

    def post() -> None:
        with contextlib.suppress(httpx.ReadTimeout):
            answers.append(httpx.post(f"{live.url}/v1/images/generations", json=body, timeout=patience_s))

    thread = threading.Thread(target=post)
    thread.start()
    return thread, answers


def wait_for(condition, *, seconds: float = 15.0):
    until_s = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.02)
    return found


def running(client) -> list[dict]:
    nodes = client.get("/v1/nodes").json()["data"]
    return [{**work, "node": node["name"]} for node in nodes for work in node["running"]]


def latest(client) -> dict:
    return client.get("/v1/requests", params={"limit": 1}).json()["data"][0]


def test_a_worker_that_is_killed_loses_its_picture_to_another_node(slow):
    live, client = slow
    thread, answers = post_in_thread(live, BODY)
    work = wait_for(lambda: running(client))[0]
    os.kill(live.runtime.roads.workers[work["node"]].pid, signal.SIGKILL)
    thread.join(timeout=30)
    assert answers[0].status_code == 200
    item = answers[0].json()["edgegen"]["items"][0]
    assert item["node"] != work["node"]
    told = [line["what"] for line in client.get(f"/v1/requests/{item['id']}").json()["events"]]
    assert told.count("started") == 2
    wait_for(lambda: all(node["alive"] for node in client.get("/v1/nodes").json()["data"]))
    assert f'edgegen_node_lost_total{{node="{work["node"]}"}} 1.0' in client.get("/metrics").text


def test_with_no_other_node_the_request_fails_with_a_reason(slow):
    live, client = slow
    thread, answers = post_in_thread(live, LONG)
    wait_for(lambda: running(client))
    os.kill(live.runtime.roads.workers["edge-1"].pid, signal.SIGKILL)
    thread.join(timeout=30)
    assert answers[0].status_code == 503
    error = answers[0].json()["error"]
    assert error["code"] == "worker_failed"
    assert "edge-1" in error["message"]
    assert latest(client)["status"] == "failed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_the_work(slow, stream):
    _, client = slow
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/images/generations", json={**LONG, "stream": stream}, timeout=0.6)
    wait_for(lambda: not running(client), seconds=1.0)
    assert latest(client)["status"] == "cancelled"
    answer = client.post("/v1/images/generations", json={**LONG, "edgegen": {"steps": 1, "nodes": ["edge-1"]}})
    assert answer.status_code == 200
    assert answer.json()["edgegen"]["items"][0]["actual"]["queue_s"] < 0.5, "nothing was left in its way"


def test_a_full_queue_says_when_to_try_again(slow):
    live, client = slow
    crowd = [post_in_thread(live, {**LONG, "n": 8}, patience_s=3.0)[0] for _ in range(3)]
    wait_for(lambda: len(live.runtime.dispatcher.waiting) >= 14)
    answer = client.post("/v1/images/generations", json={**LONG, "n": 8})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"]["type"] == "rate_limit_error"
    for thread in crowd:
        thread.join(timeout=30)
    wait_for(lambda: not live.runtime.dispatcher.waiting)  # the crowd lost its patience and left nothing behind


def test_what_is_under_way_at_the_end_fails_with_a_word(make_gateway):
    with in_thread(make_gateway(step_s=0.2)) as live, httpx.Client(base_url=live.url) as client:
        thread, answers = post_in_thread(live, LONG)
        wait_for(lambda: running(client))
        pids = [worker.pid for worker in live.runtime.roads.workers.values()]
    thread.join(timeout=30)
    assert answers[0].status_code == 503
    assert "closing" in answers[0].json()["error"]["message"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_two_subscribers_hear_the_same_story(live_gateway):
    def listen(into: list[tuple[str, dict]], heard: threading.Event) -> None:
        with httpx.stream("GET", f"{live_gateway.url}/v1/events", timeout=30) as answer:
            kind = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    into.append((kind, json.loads(value)))
                    heard.set()
                    if kind == "finished":
                        return

    stories: list[list[tuple[str, dict]]] = [[], []]
    heard = [threading.Event() for _ in stories]
    threads = [threading.Thread(target=listen, args=pair) for pair in zip(stories, heard, strict=True)]
    for thread in threads:
        thread.start()
    assert all(event.wait(10) for event in heard), "the first thing heard is how the nodes stand"
    body = {**BODY, "stream": True, "partial_images": 1}
    httpx.post(f"{live_gateway.url}/v1/images/generations", json=body, timeout=30)
    for thread in threads:
        thread.join(timeout=30)
    told = [[(kind, data["id"]) for kind, data in story if kind != "nodes"] for story in stories]
    assert told[0] == told[1]
    assert told[0][0][0] == "decided"
    assert any(data.get("preview_b64") for kind, data in stories[0] if kind == "progress")
    assert stories[0][0][0] == "nodes"
    final = stories[0][-1][1]
    assert final["actual"]["total_s"] > 0
    assert final["image_url"].endswith(".png")


def test_a_story_tells_the_decision_and_its_state(make_gateway, tmp_path):
    journal = tmp_path / "journal.jsonl"
    with in_thread(make_gateway(journal=journal)) as live, httpx.Client(base_url=live.url) as client:
        identifier = client.post("/v1/images/generations", json=BODY).json()["edgegen"]["items"][0]["id"]
        story = client.get(f"/v1/requests/{identifier}").json()
    assert len(story["state_digest"]) >= 32
    assert story["decision"]["node"] == story["node"]
    assert [line["what"] for line in story["events"]] == ["decided", "started", "finished"]
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines[0]["kind"] == "header"
    assert any(line.get("state") == story["state_digest"] for line in lines)


def test_a_plan_decides_explains_and_runs_nothing(live_gateway):
    with httpx.Client(base_url=live_gateway.url) as client:
        before = client.get("/v1/requests").json()["data"]
        plan = client.post("/v1/plan", json={**BODY, "edgegen": {"deadline_ms": 5000, "policy": "all-local"}}).json()
        refused = client.post("/v1/plan", json={**BODY, "edgegen": {"deadline_ms": 0.01}}).json()
        unknown = client.post("/v1/plan", json={**BODY, "edgegen": {"policy": "planer"}})
        assert client.get("/v1/requests").json()["data"] == before
    assert plan["decision"]["node"] == "phone"
    assert plan["policy"] == "all-local"
    assert {other["node"] for other in plan["alternatives"]} >= {"edge-1", "edge-2"}
    assert refused["decision"] is None
    assert refused["offer"]["total_s"] > 0
    assert unknown.status_code == 400
    assert unknown.json()["error"]["param"] == "edgegen.policy"
    assert "did you mean 'planner'?" in unknown.json()["error"]["message"]


def test_the_looking_routes_look_as_promised(live_gateway):
    with httpx.Client(base_url=live_gateway.url) as client:
        client.post("/v1/images/generations", json=BODY)
        node = client.get("/v1/nodes").json()["data"][1]
        policies = client.get("/v1/policies").json()
        grammar = client.get("/v1/grammar").json()
        metrics = client.get("/metrics").text
        listed = latest(client)
        assert client.get("/readyz").json() == {"status": "ready"}
        assert client.get("/v1/requests/img_none").status_code == 404
        assert client.get("/v1/images/img_none.png").status_code == 404
        assert client.get("/v1/requests?limit=0").status_code == 400
        assert client.get("/nowhere").json()["error"]["code"] == "not_found"
        assert client.get("/v1/images/generations").status_code == 405
    assert {"name", "tier", "models", "resident", "queue", "running", "backlog_s", "utilisation", "alive", "paced",
            "emulated", "energy_j", "finished", "link"} <= set(node)  # fmt: skip
    assert "certified" in [entry["name"] for entry in policies["data"]]
    assert policies["current"] == "certified"
    assert "circle" in grammar["words"]
    assert set(grammar["examples"]) == set(grammar["categories"])
    assert listed["status"] == "finished"
    for name in ("requests_total", "latency_seconds_bucket", "queue", "node_utilisation", "node_energy_joules_total",
                 "decision_seconds_count"):  # fmt: skip
        assert f"edgegen_{name}" in metrics


def test_every_answer_carries_the_security_headers(live_gateway):
    for path in ("/", "/healthz", "/nowhere"):
        headers = httpx.get(f"{live_gateway.url}{path}").headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"]


RAW = {
    "not json": (b"{", 400, "invalid_json"),
    "no body": (b"", 400, "missing_field"),
    "another encoding": (b"\xff\xfe{}", 400, None),
    "too deep": (b"[" * 5000, 400, None),
    "too large": (b'{"prompt": "' + b"a" * 70_000 + b'"}', 413, "body_too_large"),
    "a number": (b"3", 400, "invalid_value"),
}


@pytest.mark.parametrize(("content", "status", "code"), RAW.values(), ids=RAW.keys())
def test_a_body_that_is_none_is_a_clear_refusal(live_gateway, content, status, code):
    url = f"{live_gateway.url}/v1/images/generations"
    answer = httpx.post(url, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert code in (None, answer.json()["error"]["code"])
    assert answer.json()["error"]["message"]


def test_a_body_without_an_announced_length_is_bounded_too(live_gateway):
    def chunks():
        for _ in range(100):
            yield b"a" * 1000

    answer = httpx.post(f"{live_gateway.url}/v1/plan", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
