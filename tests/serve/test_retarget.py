"""A gateway whose pictures change their number of steps on the way: what its clients see, over HTTP."""

import base64
import contextlib
import io
import json
import threading
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from dispatch.retargeting import GONE, QUALITY, Retargeting
from edgegen.generate import builtin
from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.serve.run import in_thread

STEP_S = 0.04


def body(steps: int, **more) -> dict:
    wish = {"steps": steps, "nodes": ["edge-1"], "models": ["shapes-s"], "seed": 5}
    return {"prompt": "a red circle", "edgegen": wish, **more}


@pytest.fixture
def changing(make_gateway):
    """A gateway that wants so many steps when `done` of them are done; and a client of it."""

    @contextlib.contextmanager
    def serve(done, steps, *, maker="instant", **options):
        make = make_gateway(step_s=STEP_S, maker=maker, policy="greedy-cost", **options)

        def changed():
            gateway = make()
            dispatcher = Retargeting(gateway.runtime.dispatcher, lambda _, told: steps if told == done else None)
            gateway.runtime.dispatcher = dispatcher
            return gateway

        with in_thread(changed) as live, httpx.Client(base_url=live.url, timeout=30) as client:
            yield client

    return serve


def post(client, steps, **more):
    answer = client.post("/v1/images/generations", json=body(steps, **more))
    assert answer.status_code == 200, answer.text
    return answer.json()


def story(client, identifier):
    return client.get(f"/v1/requests/{identifier}").json()


@pytest.mark.parametrize("maker", ["instant", "inside"])
@pytest.mark.parametrize(
    ("first", "done", "wanted", "direction"), [(16, 4, 8, "fewer"), (8, 2, 16, "more"), (16, 0, 2, "fewer")]
)
def test_the_answer_the_story_and_the_metrics_tell_the_steps_that_were_made(
    changing, maker, first, done, wanted, direction
):
    with changing(done, wanted, maker=maker) as client:
        item = post(client, first)["edgegen"]["items"][0]
        told = story(client, item["id"])
        metrics = client.get("/metrics").text
        listed = client.get("/v1/requests", params={"limit": 1}).json()["data"][0]
    assert item["steps"] == listed["steps"] == told["steps"] == wanted
    assert item["quality_estimate"] == QUALITY
    assert item["reason"].endswith(f". It finishes with {wanted} steps.")
    assert item["predicted"]["generate_s"] == pytest.approx(wanted * STEP_S)
    assert wanted * STEP_S - 1e-6 <= item["actual"]["generate_s"] < (max(first, wanted) + 2) * STEP_S
    assert [line["what"] for line in told["events"]] == ["started", "retargeted", "finished"]
    line = told["events"][1]
    assert (line["steps_before"], line["steps"]) == (first, wanted)
    assert line["reason"] == f"It finishes with {wanted} steps."
    assert f'edgegen_retargets_total{{direction="{direction}"}} 1.0' in metrics


@pytest.mark.parametrize(("first", "done", "wanted"), [(16, 7, 8), (4, 3, 8), (4, 4, 8), (4, 2, 1)])
def test_a_change_that_comes_too_late_leaves_no_trace(changing, first, done, wanted):
    with changing(done, wanted) as client:
        item = post(client, first)["edgegen"]["items"][0]
        told = story(client, item["id"])
        assert "edgegen_retargets_total{" not in client.get("/metrics").text
        again = post(client, 2)["edgegen"]["items"][0]
    assert item["steps"] == first
    assert item["quality_estimate"] != QUALITY
    assert [line["what"] for line in told["events"]] == ["started", "finished"]
    assert item["actual"]["generate_s"] >= first * STEP_S - 1e-6
    assert again["steps"] == 2


def test_listeners_hear_of_the_change_when_it_happens(changing):
    heard: list[tuple[str, dict]] = []
    begun = threading.Event()

    def listen(client) -> None:
        with client.stream("GET", "/v1/events") as answer:
            kind = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    heard.append((kind, json.loads(value)))
                    begun.set()
                    if kind == "finished":
                        return

    with changing(4, 8) as client:
        thread = threading.Thread(target=listen, args=(client,))
        thread.start()
        assert begun.wait(10)
        post(client, 16)
        thread.join(timeout=10)
    told = [(kind, data) for kind, data in heard if kind != "nodes"]
    kinds = [kind for kind, _ in told]
    assert kinds.count("retargeted") == 1
    place = kinds.index("retargeted")
    event = told[place][1]
    assert (event["steps_before"], event["steps"], event["reason"]) == (16, 8, "It finishes with 8 steps.")
    assert event["status"] == "running"
    assert {data["steps"] for _, data in told[:place]} == {16}
    assert {data["steps"] for _, data in told[place:]} == {8}
    assert told[-1][1]["steps"] == 8


def test_a_stream_ends_with_the_steps_that_were_made(changing):
    kinds, last = [], {}
    with changing(4, 8) as client:
        asked = body(16, stream=True, partial_images=3)
        with client.stream("POST", "/v1/images/generations", json=asked) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    last = json.loads(line.removeprefix("data: "))
                    kinds.append(last["type"].removeprefix("image_generation."))
    assert kinds == ["partial_image", "partial_image", "completed"]  # those of steps 4 and 8; there is no step 12
    assert last["edgegen"]["items"][0]["steps"] == 8


def test_a_change_that_crosses_the_end_of_its_picture_hurts_nobody(changing):
    with changing(GONE, 2) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/images/generations", json=body(16), timeout=0.2)
        until_s = time.monotonic() + 10
        while client.get("/v1/requests", params={"limit": 1}).json()["data"][0]["status"] != "cancelled":
            assert time.monotonic() < until_s
        assert post(client, 4)["edgegen"]["items"][0]["steps"] == 4


def test_the_journal_of_a_gateway_keeps_the_change(changing, tmp_path):
    file = tmp_path / "journal.jsonl"
    with changing(4, 8, journal=file) as client:
        identifier = post(client, 16)["edgegen"]["items"][0]["id"]
    lines = [json.loads(line) for line in file.read_text().splitlines()][1:]
    orders = [command for line in lines for command in line["commands"] if command["kind"] == "Retarget"]
    assert [(order["id"], order["steps"]) for order in orders] == [(identifier, 8)]
    told = [line["event"]["steps"] for line in lines if line["event"]["kind"] == "Progressed"]
    assert (told[0], told[-1]) == (16, 8)


def by_engine(steps: int, done: int, wanted: int) -> np.ndarray:
    folder = builtin.folder("shapes-s")
    engine = Engine(OnnxBackend(folder), max_batch=1)
    engine.submit(EngineRequest("x", "a red circle", steps, 5, *builtin.sampling(folder)))
    events = [engine.step()[0] for _ in range(done)]
    assert engine.retarget("x", wanted)
    while not events[-1].finished:
        events += engine.step()
    assert len(events) == wanted
    return events[-1].picture


def test_a_real_picture_is_the_one_that_its_sampler_makes_with_this_change(changing):
    with changing(4, 8, maker="builtin") as client:
        answer = post(client, 16)
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))))
    # The fifth step has begun when the gateway hears of the fourth; on a busy machine another one or two.
    assert any((found == by_engine(16, done, 8)).all() for done in (5, 6, 7))
