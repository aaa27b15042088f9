"""Jobs over HTTP, on both databases: accepted, followed, told once, and the same after a restart."""

import asyncio
import base64
import contextlib
import threading
import time

import httpx
import pytest

from edgegen.serve.run import in_thread
from serve.jobs.gateways import BODY, Place, accepted, client_of, ended, story, until

PNG_START = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def place(database_url, tmp_path):
    return Place(database_url, tmp_path / "blobs")


@pytest.fixture
def lite(tmp_path):
    """A place on SQLite, for what no database makes a difference to."""
    return Place(f"sqlite:///{tmp_path / 'edgegen.db'}", tmp_path / "blobs")


def test_a_job_ends_with_the_answer_of_the_images_api_and_keeps_it_over_a_restart(place):
    with place.serving() as client:
        job = accepted(client, {**BODY, "n": 2, "size": "256x256"})
        assert job["status"] == "waiting"
        done = ended(client, job["id"])
        direct = client.post("/v1/images/generations", json={**BODY, "n": 2, "size": "256x256"}).json()
        images = {item["image_url"] for item in done["items"]}
    assert done["status"] == "done"
    assert set(done["result"]) == set(direct)
    assert set(done["result"]["edgegen"]["items"][0]) == set(direct["edgegen"]["items"][0])
    assert done["result"]["usage"] == direct["usage"]
    assert [base64.b64decode(datum["b64_json"])[:8] for datum in done["result"]["data"]] == [PNG_START] * 2
    with place.serving() as client:
        assert client.get(f"/v1/jobs/{job['id']}").json() == done
        assert [client.get(url).content[:8] for url in images] == [PNG_START] * 2


def test_a_job_may_ask_for_addresses(lite):
    with lite.serving() as client:
        done = ended(client, accepted(client, {**BODY, "response_format": "url"})["id"])
        assert httpx.get(done["result"]["data"][0]["url"]).content[:8] == PNG_START


def test_the_same_key_and_body_are_the_same_job_also_after_a_restart(place):
    with place.serving() as client:
        first = accepted(client, BODY, "once")
        ended(client, first["id"])
    with place.serving() as client:
        again = client.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": "once"})
        assert again.json()["id"] == first["id"]
        assert again.headers["Idempotent-Replayed"] == "true"
        other = client.post("/v1/jobs", json={**BODY, "n": 2}, headers={"Idempotency-Key": "once"})
        assert other.status_code == 409
        assert other.json()["error"]["code"] == "idempotency_key_reused"
        assert first["id"] in other.json()["error"]["message"]
        assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_events_are_the_same_for_all_and_resume_after_the_last_that_was_seen(place):
    with place.serving(step_s=0.05) as client:
        job_id = accepted(client, BODY)["id"]
        live = story(client, job_id)
        late = story(client, job_id)
        rest = story(client, job_id, after=2)
    kinds = [kind for _, kind, _ in live]
    assert (kinds[0], kinds[1], kinds[-2], kinds[-1]) == ("accepted", "started", "picture", "done")
    assert [number for number, _, _ in live] == list(range(1, len(live) + 1))
    assert late == live
    assert rest == live[2:]


def test_a_job_that_no_machine_can_do_in_time_is_refused_with_an_offer(lite):
    with lite.serving(step_s=0.05) as client:
        refused = ended(client, accepted(client, {**BODY, "edgegen": {"deadline_ms": 1}})["id"])
    assert refused["status"] == "refused"
    assert refused["error"]["code"] == "infeasible"
    assert refused["error"]["offer"]["total_s"] > 0
    assert refused["result"] is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "a purple elephant"}, "prompt"),
        ({**BODY, "stream": True}, "stream"),
        ({**BODY, "webhook": "https://example.com/"}, "webhook"),
        ({"prompt": "a red circle", "edgegen": {"nodes": ["moon"]}}, "edgegen.nodes"),
        ({**BODY, "hook": "https://example.com/"}, "hook"),
    ],
)
def test_what_is_wrong_with_a_job_is_said_at_once_and_nothing_is_accepted(lite, body, param):
    with lite.serving() as client:
        answer = client.post("/v1/jobs", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
        assert client.get("/v1/jobs").json()["data"] == []


def test_a_job_that_is_cancelled_ends_at_once_and_its_work_stops(place):
    with place.serving(step_s=0.2) as client:
        job_id = accepted(client, BODY)["id"]
        until(client, job_id, lambda job: job["status"] == "running")
        assert client.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
        assert client.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
        assert story(client, job_id)[-1][1] == "cancelled"
        nodes = client.get("/v1/nodes").json()["data"]
        assert [node["running"] for node in nodes] == [[]] * 3
        assert client.delete("/v1/jobs/job_none").status_code == 404


def test_jobs_are_listed_in_pages_the_newest_first(lite):
    with lite.serving() as client:
        ids = [accepted(client, BODY)["id"] for _ in range(5)]
        first = client.get("/v1/jobs", params={"limit": 3}).json()
        second = client.get("/v1/jobs", params={"limit": 3, "after": first["data"][-1]["id"]}).json()
        for unknown in ("job_none", "\x00"):
            assert client.get("/v1/jobs", params={"after": unknown}).status_code == 400
    assert [job["id"] for job in first["data"] + second["data"]] == ids[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)


def test_a_gateway_that_ends_leaves_its_jobs_to_the_next_one_which_goes_on_from_the_checkpoint(place):
    with place.serving(step_s=0.1, keep_every=4) as client:
        job_id = accepted(client, BODY)["id"]
        ids = [accepted(client, BODY)["id"] for _ in range(4)]  # most of them wait
        while not _kept(client, job_id):
            pass
        before = list(place.seen)
    with place.serving(keep_every=4) as client:
        done = [ended(client, identifier) for identifier in [job_id, *ids]]
        events = story(client, job_id)
    assert [job["status"] for job in done] == ["done"] * 5
    again = dict(place.seen[len(before) :])
    picture = done[0]["items"][0]["id"]
    assert again[picture] >= 4, "it begins where the checkpoint was made"
    starts = [data["done_steps"] for _, kind, data in events if kind == "started"]
    assert starts == [0, again[picture]]
    assert sum(kind == "picture" for _, kind, _ in events) == 1


def _kept(client, job_id: str) -> bool:
    """Whether a checkpoint was written down; the stream of a job that runs is read only as far as it goes."""
    with contextlib.suppress(httpx.ReadTimeout), client.stream("GET", f"/v1/jobs/{job_id}/events", timeout=0.3) as told:
        return any('"kept":true' in line for line in told.iter_lines())
    return False


def test_a_deadline_goes_on_while_no_gateway_is_there(place):
    body = {**BODY, "edgegen": {**BODY["edgegen"], "deadline_ms": 1500}}
    with place.serving(step_s=0.05, at_once=1) as client:
        accepted(client, {**BODY, "edgegen": {**BODY["edgegen"], "deadline_ms": 1400}})
        job_id = accepted(client, body)["id"]
    time.sleep(1.6)
    with place.serving(step_s=0.05) as client:
        late = ended(client, job_id)
    assert late["status"] == "refused"
    assert late["error"]["code"] == "infeasible"


def test_a_checkpoint_that_is_damaged_is_not_used(lite):
    with lite.serving(step_s=0.1) as client:
        job_id = accepted(client, BODY)["id"]
        while not _kept(client, job_id):
            pass
    for blob in lite.folder.rglob("*.checkpoint"):
        blob.write_bytes(b"damaged")
    with lite.serving() as client:
        assert ended(client, job_id)["status"] == "done"
        assert [data["done_steps"] for _, kind, data in story(client, job_id) if kind == "started"] == [0, 0]


def test_two_gateways_share_the_jobs_and_the_events_of_each(place):
    """Those that one has no room for, the other takes; both tell of all."""
    with place.serving(step_s=0.02, at_once=2) as one, place.serving(step_s=0.02, at_once=2) as other:
        ids = [accepted(one, BODY)["id"] for _ in range(6)]
        done = [ended(other, job_id) for job_id in ids]
        told = [story(other, job_id)[-1][1] for job_id in ids]
    assert [job["status"] for job in done] == ["done"] * 6
    assert told == ["done"] * 6


def test_when_too_many_have_not_ended_more_are_refused_until_some_have(lite):
    with lite.serving(step_s=0.05, max_open=2, at_once=1) as client:
        first = accepted(client, BODY)["id"]
        accepted(client, BODY)
        full = client.post("/v1/jobs", json=BODY)
        assert full.status_code == 429
        assert int(full.headers["Retry-After"]) >= 1
        ended(client, first)
        until_s = time.monotonic() + 5
        while client.post("/v1/jobs", json=BODY).status_code != 202:
            assert time.monotonic() < until_s
            time.sleep(0.1)


def test_nobody_waits_until_the_jobs_that_have_not_ended_are_counted(lite):
    with in_thread(lambda: lite.gateway(step_s=0.2, at_once=1)) as live, client_of(live) as client:
        accepted(client, BODY)
        counts = []

        async def endless() -> int:
            counts.append(time.monotonic())
            await asyncio.sleep(3600)
            return 0

        live.gateway.jobs._archive.count_open = endless
        began_s = time.monotonic()
        while not counts:
            accepted(client, BODY)
            assert time.monotonic() < began_s + 5
        began_s = time.monotonic()
        for _ in range(5):
            accepted(client, BODY)
        assert time.monotonic() < began_s + 2
        assert len(counts) == 1


def test_a_gateway_without_storage_says_that_it_takes_no_jobs(make_gateway):
    with in_thread(make_gateway(maker="inside")) as live:
        answer = httpx.post(f"{live.url}/v1/jobs", json=BODY)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "no_jobs"


def test_jobs_that_are_old_are_forgotten_with_their_pictures(lite, monkeypatch):
    monkeypatch.setattr("edgegen.serve.jobs.keeper.FORGET_EVERY_S", 0.1)
    gateway_of = lite.gateway
    monkeypatch.setattr(lite, "gateway", lambda **options: _forgetful(gateway_of(**options)))
    with lite.serving() as client:
        job_id = accepted(client, BODY, "once")["id"]
        _until(lambda: client.get(f"/v1/jobs/{job_id}").status_code == 404)
        _until(lambda: not list(lite.folder.rglob("*.png")))
        assert accepted(client, BODY, "once")["id"] != job_id


def test_a_job_that_is_forgotten_is_whole_or_gone_for_every_reader(place, monkeypatch):
    """Its pictures may take as long as they like to go."""
    monkeypatch.setattr("edgegen.serve.jobs.keeper.FORGET_EVERY_S", 0.05)
    with in_thread(place.gateway) as live, client_of(live) as client:
        removed = live.gateway.storage.blobs.remove

        async def reluctant(name):
            await removed(name)
            await asyncio.sleep(0.5)

        monkeypatch.setattr(live.gateway.storage.blobs, "remove", reluctant)
        job = ended(client, accepted(client, BODY, "once")["id"])
        codes: set[str] = set()
        _forgetful(live.gateway, keep_s=0.0)

        def gone() -> bool:
            shown = client.get(f"/v1/jobs/{job['id']}")
            if shown.status_code == 200:
                assert shown.json() == job
                return False
            codes.add(shown.json()["error"]["code"])
            return True

        _until(gone)
        _forgetful(live.gateway, keep_s=3600.0)
        again = accepted(client, BODY, "once")
        assert again["id"] != job["id"]
        codes |= {client.get(f"/v1/jobs/{job['id']}").json()["error"]["code"] for _ in range(20)}
        assert codes == {"not_found"}
        assert ended(client, again["id"])["status"] == "done"


def test_a_job_that_is_forgotten_between_its_row_and_its_picture_is_gone(place, monkeypatch):
    with in_thread(place.gateway) as live, client_of(live) as client:
        job = ended(client, accepted(client, BODY, "once")["id"])
        jobs = live.gateway.jobs
        read = jobs.read

        async def late(blob, sha256):
            await jobs._archive.forget(time.time() + 1, time.time())
            await jobs._sweep()
            return await read(blob, sha256)

        monkeypatch.setattr(jobs, "read", late)
        assert client.get(f"/v1/jobs/{job['id']}").json()["error"]["code"] == "not_found"
        monkeypatch.setattr(jobs, "read", read)
        job = ended(client, accepted(client, BODY, "once")["id"])
        monkeypatch.setattr(jobs, "read", late)
        assert accepted(client, BODY, "once")["id"] != job["id"]


def test_pictures_that_a_killed_gateway_left_behind_are_swept_by_the_next_one(place, monkeypatch):
    monkeypatch.setattr("edgegen.serve.jobs.keeper.FORGET_EVERY_S", 0.1)
    with in_thread(place.gateway) as live, client_of(live) as client:
        done = [ended(client, accepted(client, BODY)["id"])["id"] for _ in range(2)]

        async def killed(name):
            raise OSError("here it was killed")

        monkeypatch.setattr(live.gateway.storage.blobs, "remove", killed)
        _forgetful(live.gateway, keep_s=0.0)
        _until(lambda: all(client.get(f"/v1/jobs/{job_id}").status_code == 404 for job_id in done))
    assert len(list(place.folder.rglob("*.png"))) == 2
    with place.serving():
        _until(lambda: not list(place.folder.rglob("*.png")))


def _until(condition, seconds: float = 10.0) -> None:
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.02)


def _forgetful(gateway, keep_s: float = 0.2):
    object.__setattr__(gateway.storage, "keep_s", keep_s)
    return gateway


def test_the_direct_way_writes_nothing_down(lite):
    with lite.serving() as client:
        before = set(lite.folder.parent.rglob("*"))
        for _ in range(3):
            assert client.post("/v1/images/generations", json=BODY).status_code == 200
        assert client.get("/v1/jobs").json()["data"] == []
        assert set(lite.folder.parent.rglob("*")) == before


def test_many_clients_at_once_lose_nothing(place):
    answers = []
    with place.serving() as client:

        def send(number: int) -> None:
            answers.append(httpx.post(f"{client.base_url}/v1/jobs", json=BODY, timeout=30).json()["id"])

        threads = [threading.Thread(target=send, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {ended(client, job_id)["status"] for job_id in answers} == {"done"}
    assert len(set(answers)) == 24
