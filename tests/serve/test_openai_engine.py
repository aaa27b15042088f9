"""Engines behind OpenAI's Images API, over real HTTP: asked in their own words, bounded, watched, and left alone."""

import asyncio
import base64
import dataclasses
import logging

import pytest

from edgegen.config import parse_config
from edgegen.core.errors import ConfigError, WorkerError
from edgegen.serve.run import in_thread
from edgegen.serve.workers import checks, openai_engine
from edgegen.serve.workers.dialects import DIALECTS
from edgegen.serve.workers.openai_engine import EngineWorker
from edgegen.serve.workers.protocol import JobError, WorkerGoneError
from serve import engines
from serve.engines import until

NODES = """
[gateway]
steps = [1, 2, 3, 4, 6, 12, 24]
payload = { input = "2 kB", output = "20 kB" }
[[models]]
name = "shapes-s"
[[nodes]]
name = "phone"
tier = "device"
models = ["shapes-s"]
[[nodes]]
name = "edge"
tier = "edge"
models = ["shapes-s"]
"""


def ignore(progress):
    del progress


def worker_of(engine, dialect="vllm-omni", **options):
    return EngineWorker("far", url=engine.url, dialect=DIALECTS[dialect], **options)


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("dialect", ["vllm-omni", "openai"])
async def test_an_engine_fulfils_every_check_of_workers(check, dialect):
    async with engines.Engine().serving() as engine:
        await check(lambda: worker_of(engine, dialect))


@pytest.fixture(scope="module")
def other_gateway():
    from edgegen.assemble import build_fleet
    from edgegen.serve.compose import compose

    config = parse_config(NODES)
    with in_thread(lambda: compose(config, build_fleet(config), maker="inside", policy="fixed-steps:steps=4")) as live:
        yield live


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
async def test_a_gateway_behind_a_gateway_fulfils_every_check(check, other_gateway):
    await check(lambda: EngineWorker("far", url=other_gateway.url, dialect=DIALECTS["edgegen"]))


async def test_a_gateway_behind_a_gateway_does_the_steps_and_the_seed_that_it_is_told(other_gateway):
    async with checks.opened(lambda: EngineWorker("far", url=other_gateway.url, dialect=DIALECTS["edgegen"])) as worker:
        await worker.run(checks.job(steps=12, seed=77), ignore)
    record = next(iter(other_gateway.runtime.store.newest(1)))
    assert (record.start.steps, record.start.seed) == (12, 77)


@pytest.mark.parametrize(
    ("dialect", "told"),
    [
        ("vllm-omni", {"num_inference_steps": 4, "seed": 7, "guidance_scale": 3.5, "response_format": "b64_json"}),
        ("sglang", {"num_inference_steps": 4, "seed": 7, "guidance_scale": 3.5, "response_format": "b64_json"}),
        ("localai", {"step": 4, "seed": 7, "response_format": "b64_json"}),
        ("openai", {"response_format": "b64_json"}),
        ("gpt-image", {}),
        ("edgegen", {"response_format": "b64_json", "edgegen": {"steps": 4, "seed": 7, "allow_degrade": True}}),
    ],
)
async def test_every_engine_is_asked_in_its_own_words(dialect, told):
    options = {"model_names": {"shapes-s": "Qwen/Qwen-Image"}, "size": "512x512", "guidance": 3.5, "key": "k" * 20}
    async with (
        engines.Engine().serving() as engine,
        checks.opened(lambda: worker_of(engine, dialect, **options)) as worker,
    ):
        await worker.run(checks.job(), ignore)
    usual = {"prompt": "a red circle", "model": "Qwen/Qwen-Image", "n": 1, "size": "512x512"}
    assert engine.bodies == [{**usual, **told}]
    assert engine.keys == ["Bearer " + "k" * 20]


async def test_an_engine_without_steps_is_not_said_to_have_done_them():
    seen = []
    async with engines.Engine().serving() as engine, checks.opened(lambda: worker_of(engine, "openai")) as worker:
        await worker.run(checks.job(), seen.append)
    assert seen == []


async def test_an_order_that_is_taken_back_closes_its_connection():
    async with engines.Engine(seconds=30).serving() as engine, checks.opened(lambda: worker_of(engine)) as worker:
        running = asyncio.create_task(worker.run(checks.job(), ignore))
        await until(lambda: engine.bodies)
        running.cancel()
        async with asyncio.timeout(5):
            await until(lambda: engine.broken_off)
        assert worker.alive


@pytest.mark.parametrize(
    ("engine", "said", "retry"),
    [
        ({"status": 400, "answer": {"error": {"message": "a bad prompt"}}}, "says 400: a bad prompt", False),
        ({"status": 422, "answer": {"detail": [{"msg": "x" * 999}]}}, "says 422", False),
        ({"status": 429, "answer": {}}, "says 429", True),
        ({"status": 500, "answer": "oh"}, "says 500: oh", True),
        ({"status": 307}, "redirects", True),
        ({"answer": {"data": [{"url": "http://127.0.0.1:9/x.png"}]}}, "no picture", True),
        ({"answer": {"data": []}}, "no picture", True),
        ({"answer": [3]}, "no picture", True),
        ({"answer": {"data": [{"b64_json": "!!"}]}}, "no picture", True),
        ({"answer": {"data": [{"b64_json": "aGVsbG8="}]}}, "no PNG, JPEG or WebP", True),
        ({"answer": {"data": [{"b64_json": "A" * 40_000}]}}, "longer than 20000 bytes", True),
    ],
)
async def test_what_is_no_picture_is_that_jobs_failure_and_not_the_engines_end(engine, said, retry, monkeypatch):
    monkeypatch.setattr(openai_engine, "MAX_ANSWER_BYTES", 20_000)
    async with engines.Engine(**engine).serving() as other, checks.opened(lambda: worker_of(other)) as worker:
        with pytest.raises(JobError, match=said) as failure:
            await worker.run(checks.job(), ignore)
        assert failure.value.retry is retry
        assert len(str(failure.value)) < 300
        assert worker.alive


async def test_an_engine_that_takes_too_long_is_left():
    engine = engines.Engine(seconds=30)
    async with engine.serving(), checks.opened(lambda: worker_of(engine, timeout_s=0.2)) as worker:
        with pytest.raises(JobError, match=r"within 0\.2 s") as failure:
            await worker.run(checks.job(), ignore)
    assert failure.value.retry
    assert engine.broken_off == 1


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
async def test_pictures_in_other_formats_become_pngs(form):
    async with engines.Engine(form=form).serving() as engine, checks.opened(lambda: worker_of(engine)) as worker:
        report = await worker.run(checks.job(), ignore)
    assert base64.b64decode(report.png_b64).startswith(checks.PNG_START)


async def test_an_engine_that_ends_and_returns_is_noticed(monkeypatch):
    monkeypatch.setattr(openai_engine, "HEALTH_EVERY_S", 0.1)
    lost, joined = [], asyncio.Event()
    engine = engines.Engine(seconds=30)
    async with engine.serving():
        worker = worker_of(engine)
        await worker.open(on_lost=lost.append, on_joined=joined.set)
        running = asyncio.create_task(worker.run(checks.job(), ignore))
        await until(lambda: engine.bodies)
    with pytest.raises(WorkerGoneError):
        async with asyncio.timeout(10):
            await running
    assert len(lost) == 1
    assert not worker.alive
    engine.seconds = 0.02
    async with engine.serving(), asyncio.timeout(10):
        await joined.wait()
        await worker.run(checks.job(), ignore)
        await worker.close()


async def test_an_engine_that_says_it_is_unwell_is_gone_until_it_is_well(monkeypatch):
    monkeypatch.setattr(openai_engine, "HEALTH_EVERY_S", 0.05)
    lost, joined = [], asyncio.Event()
    async with engines.Engine(well=False).serving() as engine, asyncio.timeout(10):
        worker = worker_of(engine)
        await worker.open(on_lost=lost.append, on_joined=joined.set)
        assert not worker.alive
        with pytest.raises(WorkerError, match="does not answer"):
            await worker.run(checks.job(), ignore)
        engine.well = True
        await joined.wait()
        engine.well = False
        await until(lambda: lost)
        assert lost == ["its /health says 503"]
        await worker.close()


async def test_a_gateway_starts_without_its_engine_and_uses_it_once_it_is_there():
    from openai import AsyncOpenAI

    engine = engines.Engine()
    async with engine.serving():
        pass  # now its port is known, and nobody is there
    text = NODES + f'worker = {{ kind = "openai", url = "{engine.url}/v1", dialect = "sglang" }}\n'
    config = parse_config(text)
    with in_thread(_made(config)) as live:
        client = AsyncOpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)
        wanted = {"prompt": "a red circle", "extra_body": {"edgegen": {"nodes": ["edge"], "steps": 12, "seed": 5}}}
        with pytest.raises(Exception, match="no node that may run this request is up"):
            await client.images.generate(**wanted)
        async with engine.serving(), asyncio.timeout(20):
            await until(lambda: live.runtime.roads.workers["edge"].alive)
            await asyncio.sleep(0.2)
            answer = await client.images.generate(**wanted)
        await client.close()
    assert answer.model_extra["edgegen"]["items"][0]["node"] == "edge"
    assert [(body["num_inference_steps"], body["seed"]) for body in engine.bodies] == [(12, 5)]


def _made(config):
    from edgegen.assemble import build_fleet
    from edgegen.serve.compose import compose

    return lambda: compose(config, build_fleet(config), maker="inside", policy="planner")


def test_the_key_is_read_from_the_environment_and_missing_is_said():
    node = parse_config(NODES + 'worker = { kind = "openai", url = "http://a", key_env = "THE_KEY" }').node("edge")
    with pytest.raises(ConfigError, match="'THE_KEY', which is not set"):
        EngineWorker.of("edge", node.worker, {})
    assert EngineWorker.of("edge", node.worker, {"THE_KEY": "x"}).abilities.steps is False


def test_a_field_for_steps_and_a_path_for_health_may_be_named():
    section = (
        parse_config(NODES + 'worker = { kind = "openai", url = "http://a", steps_field = "a.b" }').node("edge").worker
    )
    worker = EngineWorker.of("edge", section, {})
    assert worker.abilities.steps
    body = dataclasses.replace(DIALECTS["openai"], steps="a.b").body(
        prompt="p", model="m", steps=3, seed=1, size=None, guidance=None
    )
    assert body["a"] == {"b": 3}


async def test_the_key_is_not_in_the_log(caplog, capsys):
    caplog.set_level(logging.DEBUG)
    key = "very-secret-key-0001"
    engine = engines.Engine(status=500, answer="no")
    async with engine.serving(), checks.opened(lambda: worker_of(engine, key=key)) as worker:
        with pytest.raises(JobError):
            await worker.run(checks.job(), ignore)
    assert engine.keys == [f"Bearer {key}"]
    out, err = capsys.readouterr()
    assert key not in caplog.text + out + err
