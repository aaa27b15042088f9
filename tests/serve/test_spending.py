"""What a picture took, with all that was tried for it: in usage, and in what nodes took."""

import pytest

from edgegen.observe.metrics import Metrics
from edgegen.serve.run import Live, in_thread
from edgegen.serve.store import Spent
from edgegen.serve.workers.instant import InstantWorker
from edgegen.serve.workers.protocol import JobError, ReleasedError, WorkerGoneError
from serve.jobs.gateways import client_of

STEP_S, DONE = 0.03, 3
BODY = {"prompt": "a red circle", "edgegen": {"steps": 8, "nodes": ["edge-1", "edge-2"], "models": ["shapes-m"]}}


class FallingWorker(InstantWorker):
    """The first picture ends after some steps: it fails, is given back, or the whole worker goes away."""

    def __init__(self, node: str, how: str, fallen: list[str]):
        super().__init__(node)
        self._how, self._fallen = how, fallen

    async def open(self, *, on_lost, on_joined) -> None:
        await super().open(on_lost=on_lost, on_joined=on_joined)
        self._on_lost = on_lost

    async def run(self, job, on_progress):
        if self._fallen:
            return await super().run(job, on_progress)
        self._fallen.append(self.node)

        def told(progress):
            on_progress(progress)
            if progress.step == DONE:
                self._fall()

        return await super().run(job, told)

    def _fall(self):
        if self._how == "fails":
            raise JobError("no more paper", retry=True)
        if self._how == "moves":
            raise ReleasedError(DONE, None)
        self._open = False
        self._on_lost("no more power")
        raise WorkerGoneError("no more power")


def sum_of(live: Live, name: str, **labels: str) -> float:
    metrics: Metrics = live.runtime.metrics
    live.runtime.chores.catch_up()
    text = metrics.render().decode()
    wanted = name + (f'{{node="{labels["node"]}"}}' if labels else "")
    return next(float(line.split()[1]) for line in text.splitlines() if line.split()[0] == wanted)


@pytest.mark.parametrize("how", ["fails", "moves", "is lost"])
def test_a_picture_is_charged_with_the_attempts_that_brought_none(make_gateway, how):
    fallen: list[str] = []

    def make():
        gateway = make_gateway(maker="inside", step_s=STEP_S)()
        workers = gateway.runtime.roads.workers
        workers.update({name: FallingWorker(name, how, fallen) for name in ("edge-1", "edge-2")})
        return gateway

    with in_thread(make) as live, client_of(live) as client:
        answer = client.post("/v1/images/generations", json=BODY)
        assert answer.status_code == 200, answer.text
        (item,) = answer.json()["edgegen"]["items"]
        (usage,) = client.get("/v1/usage").json()["data"]
        (first,) = fallen
        node = next(node for node in live.runtime.roads.nodes.values() if node.name == first)
        slowness = live.runtime.dispatcher.books.nodes[first].slowness.factor
        compute_s = DONE * STEP_S * slowness
        assert item["node"] != first
        assert sum_of(live, "edgegen_unfinished_seconds_total", node=first) == pytest.approx(compute_s)
        lost_j = sum_of(live, "edgegen_unfinished_energy_joules_total", node=first)
        assert lost_j >= node.power_w * compute_s * 0.999, "and what its upload took of the device"
        made_j = item["actual"]["device_energy_j"] + item["actual"]["node_energy_j"]
        assert usage["energy_j"] == pytest.approx(made_j + lost_j)
        assert usage["pictures"] == 1
        nodes_j = sum_of(live, "edgegen_node_energy_joules_total")
        assert nodes_j == pytest.approx(item["actual"]["node_energy_j"] + node.power_w * compute_s)


def test_a_picture_that_nobody_waits_for_is_in_what_the_nodes_took(make_gateway):
    with in_thread(make_gateway(maker="inside", step_s=0.2)) as live, client_of(live) as client:
        with pytest.raises(Exception, match="timed out"):
            client.post(
                "/v1/images/generations", json={**BODY, "edgegen": {"nodes": ["edge-2"], "steps": 16}}, timeout=0.9
            )
        for _ in range(100):
            if client.get("/v1/requests").json()["data"][0]["status"] == "cancelled":
                break
        assert sum_of(live, "edgegen_unfinished_seconds_total", node="edge-2") >= 0.4
        assert sum_of(live, "edgegen_node_energy_joules_total") > 0


def test_what_attempts_took_adds_up():
    one = Spent(1, 2.0, 3.0, 4.0, 5.0)
    assert one + Spent() == one
    assert (one + one) == Spent(2, 4.0, 6.0, 8.0, 10.0)
    assert (one + one).energy_j == 14.0
