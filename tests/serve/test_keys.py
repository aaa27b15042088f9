"""Keys in a real database, and what they open on a gateway that runs."""

import asyncio
import json
import time

import httpx
import pytest
from sqlalchemy import select, text

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.serve import keyring as keyring_module
from edgegen.serve.auth import Keys, id_of, new_key
from edgegen.serve.keyring import Keyring
from edgegen.serve.problems import Problem
from edgegen.serve.quotas import Quota, QuotaError
from edgegen.serve.run import in_thread
from edgegen.serve.storage.blobs import Blobs
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.keys import HOUR_S, KeyStore, usage
from edgegen.serve.storage.place import Storage


def storage_at(url):
    """A database, and a folder beside it."""
    return Storage(Database(url), Blobs(url.removeprefix("sqlite:///") + "-blobs"), 3600.0)


BODY = {"prompt": "a red circle", "edgegen": {"steps": 1}}


@pytest.fixture
async def store(database_url):
    database = Database(database_url)
    await database.open()
    yield KeyStore(database)
    await database.close()


async def test_a_key_is_shown_once_and_only_its_hash_is_kept(store, database_url):
    _, key = await store.add("ann", ["images"], Quota(rate_per_s=2.0))
    database = Database(database_url)
    await database.open()
    async with database.reading() as connection:
        kept = str((await connection.execute(text("SELECT * FROM keys"))).all())
    await database.close()
    secret = key.rpartition("_")[2]
    assert len(secret) >= 51  # 256 bits in base 32
    assert secret not in kept
    assert id_of(key) in kept
    (listed,) = await store.all()
    assert (listed.name, listed.scopes, listed.quota["rate_per_s"]) == ("ann", ("images",), 2.0)


async def test_names_are_given_once_at_a_time_and_scopes_are_known(store):
    await store.add("ann", ["images"], Quota())
    with pytest.raises(InputError, match="already"):
        await store.add("ann", ["images"], Quota())
    await store.revoke("ann")
    await store.add("ann", ["images"], Quota())
    with pytest.raises(UnknownNameError, match="did you mean 'images'"):
        await store.add("bob", ["image"], Quota())
    with pytest.raises(UnknownNameError, match="no key named 'carl'"):
        await store.revoke("carl")


async def test_a_key_opens_what_it_is_for_and_no_other(store):
    _, key = await store.add("ann", ["images"], Quota())
    _, admin = await store.add("root", ["admin"], Quota())
    keys = Keys()
    entries, ever = await store.entries()
    keys.replace(entries, ever=ever)
    assert keys.check("/v1/images/generations", f"Bearer {key}").name == "ann"
    assert keys.check("/v1/models", f"Bearer {key}").name == "ann"
    assert keys.check("/metrics", f"Bearer {admin}").name == "root"
    for path in ("/metrics", "/v1/requests", "/v1/plan", "/v1/jobs/job_1", "/v1/workers/join", "/v1/events"):
        with pytest.raises(Problem) as caught:
            keys.check(path, f"Bearer {key}")
        assert (caught.value.status, caught.value.code) == (403, "insufficient_scope")
    forged = key[:-1] + ("a" if key[-1] != "a" else "b")
    for wrong in (forged, new_key()[1], id_of(key), f"eg_{id_of(key)}_"):
        with pytest.raises(Problem) as caught:
            keys.check("/v1/models", f"Bearer {wrong}")
        assert caught.value.status == 401


async def test_a_gateway_whose_last_key_is_revoked_is_closed_and_not_open(store):
    _, key = await store.add("ann", ["images"], Quota())
    await store.revoke("ann")
    keys = Keys()
    entries, ever = await store.entries()
    keys.replace(entries, ever=ever)
    for header in (None, f"Bearer {key}"):
        with pytest.raises(Problem):
            keys.check("/v1/images/generations", header)


async def test_usage_of_two_gateways_adds_up(store):
    hour = int(time.time() // HOUR_S)
    await asyncio.gather(
        *(store.book({("a", hour): [1, 0, 1, 2.5, 0.5], ("b", hour): [1, 1, 0, 0, 0]}) for _ in range(8))
    )
    rows = {row["key_id"]: row for row in await store.taken(time.time())}
    assert (rows["a"]["requests"], rows["a"]["energy_j"], rows["b"]["refused"]) == (8, 20.0, 8)
    assert await store.taken(time.time() + 2 * HOUR_S) == []


async def test_the_share_of_a_window_survives_a_restart(store, database_url):
    _, key = await store.add("ann", ["images"], Quota(energy_j=10.0))
    database = Database(database_url)
    await database.open()
    for let_in in (True, False):
        ring = Keyring(Keys(), database)
        await ring.open()
        caller = ring.keys.check("/v1/images/generations", f"Bearer {key}")
        if let_in:
            ring.begin(caller, 1)
            ring.end(caller, energy_j=12.0, took_s=1.0)
        else:
            with pytest.raises(QuotaError, match="10 J"):
                ring.begin(caller, 1)
        await ring.close()
    await database.close()


async def test_usage_is_kept_while_the_database_is_away_and_booked_once_it_is_back(store, database_url, monkeypatch):
    monkeypatch.setattr(keyring_module, "EVERY_S", 0.05)
    _, key = await store.add("ann", ["images"], Quota())
    database = Database(database_url)
    await database.open()
    ring = Keyring(Keys(), database)
    await ring.open()
    caller = ring.keys.check("/v1/images/generations", f"Bearer {key}")

    async def away(sums):
        raise OSError("no route")

    with monkeypatch.context() as patched:
        patched.setattr(ring.store, "book", away)
        ring.begin(caller, 1)
        await asyncio.sleep(0.2)
        ring.end(caller, energy_j=3.0, took_s=1.0)
        await asyncio.sleep(0.1)
    await ring.close()
    async with database.reading() as connection:
        (row,) = (await connection.execute(select(usage))).mappings().all()
    assert (row["requests"], row["pictures"], row["energy_j"]) == (1, 1, 3.0)
    await database.close()


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A database file, and a function that works on its keys from outside of the gateway."""
    monkeypatch.setattr(keyring_module, "EVERY_S", 0.1)
    url = f"sqlite:///{tmp_path}/edgegen.db"

    def outside(work):
        async def main():
            database = Database(url)
            await database.open()
            try:
                return await work(KeyStore(database))
            finally:
                await database.close()

        return asyncio.run(main())

    return url, outside


def eventually(answer, status, seconds=5.0):
    until_s = time.monotonic() + seconds
    while (got := answer().status_code) != status:
        assert time.monotonic() < until_s, f"still {got}"
        time.sleep(0.05)


def test_keys_come_and_go_while_the_gateway_runs(make_gateway, kept):
    url, outside = kept
    with (
        in_thread(make_gateway(maker="inside", storage=storage_at(url))) as live,
        httpx.Client(base_url=live.url) as client,
    ):
        assert client.get("/v1/nodes").status_code == 200, "no key was ever made"
        _, key = outside(lambda store: store.add("ann", ["images", "observe"], Quota()))
        client.headers["authorization"] = f"Bearer {key}"
        eventually(lambda: httpx.get(f"{live.url}/v1/nodes"), 401)
        assert client.get("/v1/nodes").status_code == 200
        assert client.post("/v1/plan", json=BODY).status_code == 403
        assert client.post("/v1/images/generations", json=BODY).status_code == 200
        told = {row["key"]: row for row in client.get("/v1/usage").json()["data"]}
        assert told["ann"]["pictures"] == 1
        metrics = client.get("/metrics").text
        assert 'edgegen_key_pictures_total{key="ann"} 1.0' in metrics
        outside(lambda store: store.revoke("ann"))
        eventually(lambda: client.get("/v1/nodes"), 401)
    (row,) = [row for row in outside(lambda store: store.taken(time.time() - 3600)) if row["name"] == "ann"]
    assert (row["requests"], row["pictures"]) == (1, 1)


def test_quotas_hold_over_http_and_retry_after_is_true(make_gateway, kept):
    url, outside = kept
    _, key = outside(lambda store: store.add("ann", ["images"], Quota(rate_per_s=1.0, burst=2)))
    _, other = outside(lambda store: store.add("bob", ["images"], Quota()))
    with (
        in_thread(make_gateway(maker="inside", storage=storage_at(url))) as live,
        httpx.Client(base_url=live.url) as client,
    ):

        def ask(key):
            return client.post("/v1/images/generations", json=BODY, headers={"authorization": f"Bearer {key}"})

        answers = [ask(key) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        refused = answers[-1]
        assert refused.json()["error"]["code"] == "rate_limit"
        assert ask(other).status_code == 200, "a key's quota is its own"
        time.sleep(int(refused.headers["retry-after"]))
        assert ask(key).status_code == 200
        assert 'edgegen_throttled_total{limit="rate",scope="images"} 1.0' in live.runtime.metrics.render().decode()


def test_pictures_under_way_are_counted_until_they_end_or_are_given_up(make_gateway, kept):
    url, outside = kept
    _, key = outside(lambda store: store.add("ann", ["images"], Quota(concurrent=2)))
    headers = {"authorization": f"Bearer {key}"}
    with (
        in_thread(make_gateway(step_s=0.05, storage=storage_at(url))) as live,
        httpx.Client(base_url=live.url) as client,
    ):
        body = {"prompt": "a red circle", "n": 2, "edgegen": {"steps": 16}}
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/images/generations", json=body, headers=headers, timeout=0.4)
        eventually(lambda: client.post("/v1/images/generations", json=BODY, headers=headers), 200)
        with client.stream("POST", "/v1/images/generations", headers=headers,
                           json={"prompt": "a red circle", "stream": True, "edgegen": {"steps": 16}}) as first:  # fmt: skip
            answer = httpx.post(f"{live.url}/v1/images/generations", json=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "concurrent_limit")
            first.read()
        infeasible = {"prompt": "a red circle", "edgegen": {"deadline_ms": 0.01}}
        for _ in range(5):
            assert client.post("/v1/images/generations", json=infeasible, headers=headers).status_code == 400
        assert client.post("/v1/images/generations", json=BODY, headers=headers).status_code == 200


def test_jobs_belong_to_their_key_count_by_its_rate_and_are_billed_to_it(make_gateway, kept):
    url, outside = kept
    _, key = outside(lambda store: store.add("ann", ["jobs"], Quota(rate_per_s=0.5, burst=2)))
    _, other = outside(lambda store: store.add("bob", ["jobs"], Quota()))
    with (
        in_thread(make_gateway(maker="inside", storage=storage_at(url))) as live,
        httpx.Client(base_url=live.url) as client,
    ):
        client.headers["authorization"] = f"Bearer {key}"
        accepted = [client.post("/v1/jobs", json=BODY) for _ in range(3)]
        assert [answer.status_code for answer in accepted] == [202, 202, 429]
        place = accepted[0].headers["location"]
        assert client.get(place, headers={"authorization": f"Bearer {other}"}).status_code == 404
        until_s = time.monotonic() + 10
        while client.get(place).json()["status"] != "done":
            assert time.monotonic() < until_s
            time.sleep(0.05)
        eventually(lambda: client.get("/v1/usage"), 200)
        assert {row["key"] for row in client.get("/v1/usage").json()["data"]} == {"ann"}, (
            "others are none of its business"
        )
        assert client.post("/v1/images/generations", json=BODY).status_code == 403
    (row,) = [row for row in outside(lambda store: store.taken(time.time() - 3600)) if row["name"] == "ann"]
    assert row["pictures"] == 2


def test_the_command_line_makes_lists_and_revokes_keys(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from edgegen.cli import app

    monkeypatch.chdir(tmp_path)

    def run(*words):
        done = CliRunner().invoke(app, ["keys", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    made = json.loads(run("add", "ann", "--scope", "images", "--rate", "2/s", "--concurrent", "3", "--energy", "2 kJ",
                          "--cost", "1 USD", "--json"))  # fmt: skip
    assert made["quota"] == {"rate_per_s": 2.0, "burst": 8.0, "concurrent": 3.0, "energy_j": 2000.0, "cost_usd": 1.0,
                             "window_s": 86400.0}  # fmt: skip
    assert made["key"] not in run("list") + run("list", "--json")
    run("revoke", "ann")
    assert json.loads(run("list", "--json"))[0]["revoked_s"] is not None
    assert json.loads(run("usage", "--json")) == []
