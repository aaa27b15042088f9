"""An adapter becomes a model of a running gateway: real sockets, real worker processes, pictures under way all the while."""

import base64
import io
import json
import os
import signal
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from edgegen.assemble import build_fleet, with_published
from edgegen.config import Config, PullWorkerSection
from edgegen.dispatch.audit import replay
from edgegen.dispatch.journal import read
from edgegen.generate import builtin, words
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.generate.opening import open_folder
from edgegen.generate.shelf import Shelf
from edgegen.registry import load_policy
from edgegen.serve.auth import Caller, Entry, Keys, hash_of
from edgegen.serve.compose import compose
from edgegen.serve.run import in_thread
from generate.adapters import adaptable, random_arrays, with_profile, write_adapter
from serve.conftest import measured_fleet, slow, small_config

pytestmark = pytest.mark.torch  # to write a base takes what comes with it
STEPS, SEED = 4, 11
NEW = tuple(words.OBJECTS)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder of models with the base in it."""
    root = tmp_path_factory.mktemp("models")
    adaptable(root)
    return root


def adapter(models: Path, name: str, *, seed: int = 1, novel: float | None = 0.8, **parts) -> Path:
    base = adaptable(models)
    arrays = random_arrays(base, seed=seed, size=0.1, words=len(NEW))
    return with_profile(write_adapter(models, name, base, arrays, words=NEW, **parts), novel=novel)


def configured(models: Path | str, *, pace: bool = False) -> Config:
    config = small_config()
    gateway = config.gateway.model_copy(update={"models_folder": str(models), "pace": pace})
    return config.model_copy(update={"gateway": gateway})


def ask(
    url: str, model: str = "auto", prompt: str = "a red circle", *, nodes=("edge-1",), steps=STEPS, key=""
) -> httpx.Response:
    body = {"prompt": prompt, "model": model, "edgegen": {"steps": steps, "seed": SEED, "nodes": list(nodes)}}
    return httpx.post(f"{url}/v1/images/generations", json=body, timeout=60, headers=bearer(key))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def publish(url: str, name: str, nodes=None, *, key: str = "") -> httpx.Response:
    body = {"name": name} if nodes is None else {"name": name, "nodes": nodes}
    return httpx.post(f"{url}/v1/models", json=body, timeout=60, headers=bearer(key))


def picture(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))))


def by_engine(folder: Path) -> np.ndarray:
    engine = Engine(open_folder(folder), 1)
    engine.submit(EngineRequest("x", "a red circle", STEPS, SEED, *builtin.sampling(folder)))
    while True:
        (event,) = engine.step()
        if event.finished:
            return event.picture


@pytest.fixture(scope="module")
def journal(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("journal") / "journal.jsonl"


@pytest.fixture(scope="module")
def live(models, journal):
    """A gateway with process workers that run the built-in models."""
    config = configured(models, pace=True)
    with in_thread(lambda: compose(config, slow(measured_fleet(config), 0.03), journal=journal)) as gateway:
        yield gateway


def test_the_journal_tells_when_it_came_and_replays(live, hand, journal):
    live.runtime.chores.catch_up()
    lines = journal.read_text().splitlines()
    assert len(crossed(read(lines)[1], "hand")) > 1, "pictures were begun before it and finished after it"
    audit = replay(lines, load_policy)
    assert audit.same, audit.difference
    assert audit.decisions >= 5


def crossed(lines: list[dict], model: str) -> set[str]:
    """The pictures that were begun before a model came and finished after it."""
    (at,) = (n for n, line in enumerate(lines) if line["event"].get("spec", {}).get("name") == model)
    begun = {order["id"] for line in lines[:at] for order in line["commands"] if order["kind"] == "Start"}
    return begun & {line["event"]["id"] for line in lines[at:] if line["event"]["kind"] == "Finished"}


@pytest.fixture(scope="module")
def hand(live, models) -> dict:
    """What was answered when the model `hand` came while eight pictures of others were under way."""
    folder = adapter(models, "hand")
    found: dict = {"folder": folder, "before": ask(live.url, "hand"), "others": []}

    def other(number: int) -> None:
        found["others"].append(ask(live.url, "shapes-m", nodes=("edge-1", "edge-2")[number % 2 :], steps=16))

    crowd = [threading.Thread(target=other, args=(number,)) for number in range(8)]
    for one in crowd:
        one.start()
    while not any(node["running"] for node in httpx.get(f"{live.url}/v1/nodes").json()["data"]):
        time.sleep(0.02)
    found["told"], found["first"] = publish(live.url, "hand"), ask(live.url, "hand")
    for one in crowd:
        one.join()
    return found


def test_a_model_comes_while_pictures_are_under_way(live, hand):
    assert hand["before"].status_code == 404
    assert hand["told"].status_code == 201, hand["told"].text
    assert hand["told"].json()["edgegen"]["nodes"] == ["phone", "edge-1"], "the nodes that run its base"
    assert [answer.status_code for answer in hand["others"]] == [200] * 8, "what was under way is finished"
    assert {answer.json()["edgegen"]["items"][0]["model"] for answer in hand["others"]} == {"shapes-m"}
    made = picture(hand["first"])
    assert hand["first"].json()["edgegen"]["items"][0]["model"] == "hand"
    assert (made == by_engine(hand["folder"])).all(), "it is the adapter's own picture"
    assert (made != picture(ask(live.url, "shapes-s"))).any(), "and not its base's"
    listed = {entry["id"]: entry["edgegen"] for entry in httpx.get(f"{live.url}/v1/models").json()["data"]}
    assert list(listed)[:3] == ["shapes-s", "shapes-m", "hand"]
    assert "novel" in listed["hand"]["quality"]
    assert "novel" not in listed["shapes-s"]["quality"]


def test_a_worker_that_is_started_again_knows_it(live, hand):
    worker = live.runtime.roads.workers["edge-1"]
    before = worker.pid
    os.kill(before, signal.SIGKILL)
    until_s = time.monotonic() + 20
    while worker.pid in (None, before) or not worker.alive:
        assert time.monotonic() < until_s
        time.sleep(0.05)
    assert (picture(ask(live.url, "hand")) == by_engine(hand["folder"])).all()


def test_a_second_model_shares_the_base_and_draws_otherwise(live, models, hand):
    adapter(models, "other", seed=2, novel=None)
    told = publish(live.url, "other", ["edge-1"])
    assert told.status_code == 201, told.text
    assert told.json()["edgegen"]["nodes"] == ["edge-1"]
    assert (picture(ask(live.url, "other")) == by_engine(models / "other")).all()
    assert (picture(ask(live.url, "other")) != picture(hand["first"])).any()
    refused = ask(live.url, "other", nodes=("edge-2",))
    assert refused.status_code == 400
    assert "edge-2 can run other" in refused.json()["error"]["message"]


def test_a_prompt_with_a_new_word_goes_to_a_model_that_was_shown_it(live, hand):
    answer = ask(live.url, "auto", f"a red {NEW[0]}", nodes=("edge-1", "edge-2", "phone"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["edgegen"]["items"][0]["model"] == "hand"
    refused = ask(live.url, "shapes-m", f"a red {NEW[0]}")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "model"
    assert "models that can: hand" in refused.json()["error"]["message"]


def test_where_nothing_draws_a_new_word_the_prompt_is_refused(make_gateway):
    with in_thread(make_gateway()) as gateway:
        refused = ask(gateway.url, "auto", f"a red {NEW[0]}")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "prompt"
    assert "nothing here can draw" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "nodes", "status", "said"),
    [
        ("nobody", None, 404, "no model folder named 'nobody'"),
        ("../models/hand", None, 400, "the name of a published model has"),
        ("bases", None, 400, "is not 'bases'"),
        (".hidden", None, 400, "the name of a published model has"),
        ("fine", ["edge-9"], 400, "no node named 'edge-9'"),
        ("damaged", None, 400, "adapter.npz is damaged"),
        ("foreign", None, 400, "which is not in"),
        ("renamed", None, 400, "a folder is called as its model"),
        ("unmeasured", None, 400, "has no profile.json"),
        ("link", None, 404, "no model folder named 'link'"),
        ("shapes-m", None, 409, "is served already"),
    ],
)  # fmt: skip
def test_what_cannot_be_published_is_refused_and_nothing_changes(live, models, name, nodes, status, said):
    if name in ("fine", "damaged", "foreign", "renamed", "unmeasured") and not (models / name).exists():
        folder = adapter(models, name)
        if name == "damaged":
            (folder / "adapter.npz").write_bytes((folder / "adapter.npz").read_bytes()[:-100])
        if name in ("foreign", "renamed"):
            change = {"base_sha256": "ab" * 32} if name == "foreign" else {"name": "else"}
            (folder / "card.json").write_text(json.dumps({**json.loads((folder / "card.json").read_text()), **change}))
        if name == "unmeasured":
            (folder / "profile.json").unlink()
    if name == "link" and not (models / "link").exists():
        (models / "link").symlink_to(models / "fine" if (models / "fine").exists() else models.parent)
    before = httpx.get(f"{live.url}/v1/models").json()
    answer = publish(live.url, name, nodes)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]
    assert httpx.get(f"{live.url}/v1/models").json() == before
    assert not (models / name.replace("/", "_") / "published.json").exists()


def test_only_an_admin_publishes(models, tmp_path):
    users, admins = "eg_users1_0123456789", "eg_admins1_0123456789"
    keys = Keys()
    keys.replace(
        [
            Entry(Caller("users1", "users", frozenset({"images", "observe"})), hash_of(users)),
            Entry(Caller("admins1", "admins", frozenset({"admin"})), hash_of(admins)),
        ],
        ever=True,
    )
    adapter(models, "guarded")
    config = configured(models)
    with in_thread(lambda: compose(config, measured_fleet(config), maker="instant", keys=keys)) as live:
        assert publish(live.url, "guarded").status_code == 401
        refused = publish(live.url, "guarded", key=users)
        assert refused.status_code == 403
        assert "needs the scope admin" in refused.json()["error"]["message"]
        assert publish(live.url, "guarded", key=admins).status_code == 201
        assert ask(live.url, "guarded", key=users).status_code == 200


def test_many_at_once_come_one_after_the_other(models):
    names = [f"many-{number}" for number in range(4)]
    for number, name in enumerate(names):
        adapter(models, name, seed=number, novel=0.5 + 0.1 * number)
    config = configured(models)
    with in_thread(lambda: compose(config, measured_fleet(config), maker="instant")) as live:
        answers: list[tuple[str, int]] = []
        both = [*names, *names]
        threads = [
            threading.Thread(target=lambda n=n: answers.append((n, publish(live.url, n).status_code))) for n in both
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert sorted(answers) == sorted([(name, status) for name in names for status in (201, 409)])
        for name in names:
            assert ask(live.url, name).json()["edgegen"]["items"][0]["model"] == name
        assert live.runtime.dispatcher.catalog.model_count == 8


def test_a_gateway_finds_its_published_models_again(models, tmp_path):
    root = tmp_path / "models"
    adaptable(root)
    for name in ("kept", "unpublished", "broken", "moved"):
        adapter(root, name)
    for name, nodes in {"kept": ["edge-1", "gone"], "broken": ["edge-1"], "moved": ["gone"]}.items():
        Shelf(root).note(name, nodes)
    (root / "broken" / "card.json").write_text("{")
    told: list[str] = []
    config = with_published(configured(root), told.append)
    assert [model.name for model in config.models] == ["shapes-s", "shapes-m", "kept"]
    assert [node.name for node in config.nodes if "kept" in node.models] == ["edge-1"]
    assert len(told) == 2
    assert "'broken' is left out" in told[0]
    assert "its nodes are gone" in told[1]
    fleet = build_fleet(config)
    assert fleet.categories == (*words.CATEGORIES, "novel")
    assert all(not model.draws(4) for model in fleet.models if model.name != "kept")
    with in_thread(lambda: compose(config, fleet)) as live:
        assert (picture(ask(live.url, "kept")) == by_engine(root / "kept")).all()
        refused = publish(live.url, "unpublished", ["edge-2", "edge-2"])
        assert refused.status_code == 201, refused.text
    again = with_published(configured(root), told.append)
    assert [model.name for model in again.models] == ["shapes-s", "shapes-m", "kept", "unpublished"]
    assert with_published(configured(tmp_path / "nowhere"), told.append) == configured(tmp_path / "nowhere")
    assert with_published(configured(""), told.append) == configured("")


def test_after_a_restart_the_fleet_is_the_one_that_was_served(models, tmp_path):
    """What a model is on each node does not depend on when it came, paced nodes included."""
    root = tmp_path / "models"
    adaptable(root)
    adapter(root, "late")
    config = configured(root, pace=True)
    with in_thread(lambda: compose(config, build_fleet(config), maker="instant")) as live:
        assert publish(live.url, "late").status_code == 201
        served = live.runtime.dispatcher.fleet
    assert build_fleet(with_published(config, pytest.fail)) == served
    assert served.nodes[0].speeds["late"].step_s > 2 * served.nodes[1].speeds["late"].step_s, "a phone is slower"


def test_a_gateway_without_a_folder_of_models_takes_none():
    config = configured("")
    with in_thread(lambda: compose(config, measured_fleet(config), maker="instant")) as live:
        answer = publish(live.url, "any")
    assert answer.status_code == 400
    assert "gateway.models_folder" in answer.json()["error"]["message"]


def test_a_node_that_does_not_read_our_files_is_refused(models):
    config = configured(models)
    joining = config.nodes[2].model_copy(update={"worker": PullWorkerSection(kind="pull")})
    config = config.model_copy(update={"nodes": [*config.nodes[:2], joining]})
    with in_thread(lambda: compose(config, measured_fleet(config), maker="instant")) as live:
        answer = publish(live.url, "hand", ["edge-2"])
    assert answer.status_code == 400
    assert "'edge-2' takes no new models" in answer.json()["error"]["message"]
    assert "nodes that do: phone, edge-1" in answer.json()["error"]["message"]
