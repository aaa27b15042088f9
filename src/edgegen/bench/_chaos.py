"""Real gateways that are killed for real, a client that does not give up, and a look into the database afterwards.

A seed settles when what is killed; each kill lets the next jobs in, so that there is always work under way. Whoever supervises
gateways starts a killed one again at once; here that is done by this process.
"""

import asyncio
import base64
import dataclasses
import http.server
import os
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
from sqlalchemy import select

from edgegen.serve.storage.database import ENVIRONMENT_NAME, Database
from edgegen.serve.storage.tables import ENDED, attempts, events, jobs, pictures, results, webhooks

KINDS = ("gateway", "worker", "both")
START_LIMIT_S = 600.0  # a machine that is busy with something else starts slowly; that is not what is measured
_SECRET = "whsec_" + base64.b64encode(b"only to see whether it is signed").decode()
_SERVE = "from edgegen.cli import main; main()"

_CONFIG = """
[gateway]
port = {port}
steps = [4, 8, 16]
journal = ""
[storage]
url = "{url}"
blobs = "{blobs}"
[jobs]
keep_every = 2
lease = "3 s"
webhooks = ["{hooks}"]
[[models]]
name = "shapes-s"
[[nodes]]
name = "phone"
tier = "device"
models = ["shapes-s"]
step_time = {{ shapes-s = "{step_ms} ms" }}
[[nodes]]
name = "edge-1"
tier = "edge"
models = ["shapes-s"]
step_time = {{ shapes-s = "{step_ms} ms" }}
[[nodes]]
name = "edge-2"
tier = "edge"
models = ["shapes-s"]
step_time = {{ shapes-s = "{step_ms} ms" }}
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run: how much, and which chance."""

    seed: int
    jobs: int = 300
    kills: int = 20
    step_ms: int = 40
    longest_gap_s: float = 4.0  # from one recovery to the next kill
    patience_s: float = 120.0  # after the last kill, until what has not ended is called hung
    kinds: tuple[str, ...] = KINDS

    def body(self, number: int, hooks: str) -> dict:
        """Return what job `number` asks for; every fourth tells a webhook."""
        rng = random.Random(self.seed * 1_000_003 + number)
        limits = {"steps": 16, "seed": number}
        if rng.random() < 0.1:  # some that cannot be met: they are refused, and that is an end
            limits |= {"deadline_ms": 1}
        body = {"prompt": rng.choice(("a red circle", "a blue square", "a green triangle")), "edgegen": limits}
        return {**body, "webhook": f"{hooks}{number}"} if number % 4 == 0 else body


@dataclasses.dataclass
class Outcome:
    """What one run came to."""

    accepted: int = 0
    lost: int = 0  # accepted, and not there or without a proper end
    doubled: int = 0  # accepted twice, ended twice, or a picture or a message that is there twice
    hung: int = 0  # not ended when everything else long had
    ends: Counter = dataclasses.field(default_factory=Counter)
    kills: Counter = dataclasses.field(default_factory=Counter)
    resumed: int = 0  # pictures that went on from a checkpoint
    again: int = 0  # pictures that were begun more than once
    taken_over: int = 0  # jobs that more than one run of the gateway worked on
    recovery_s: list[float] = dataclasses.field(default_factory=list)  # from a kill of the gateway to the next start
    trouble: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Gateway:
    """One `edgegen serve` at a fixed port, started again whenever it was killed."""

    config: Path
    url: str
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        environment = {**os.environ, "EDGEGEN_WEBHOOK_SECRET": _SECRET}
        environment.pop(ENVIRONMENT_NAME, None)
        with self.config.with_suffix(".log").open("ab") as said:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _SERVE, "serve", str(self.config), "--log-level", "warning", "--log-format", "json",
                stdout=asyncio.subprocess.DEVNULL, stderr=said, env=environment, start_new_session=True,
            )  # fmt: skip
        until_s = time.monotonic() + START_LIMIT_S
        async with httpx.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"{self.url}/readyz", timeout=2)).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                if self.process.returncode is not None or time.monotonic() > until_s:
                    raise RuntimeError(
                        f"the gateway did not start:\n{self.config.with_suffix('.log').read_text()[-2000:]}"
                    )
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """Kill it, as a machine that fails would."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        assert self.process is not None
        return [pid for pid in children(self.process.pid) if b"workers.process" in _command(pid)]


def children(parent: int) -> list[int]:
    """Return the child processes of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
        except (OSError, IndexError):
            continue  # it ended while we looked
    return sorted(found)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def run_chaos(plan: Plan, folder: Path, url: str, progress: Callable[[str], None]) -> Outcome:
    """Do one run in an empty folder and on an empty database."""
    outcome = Outcome()
    with receiver() as (heard, hooks):
        async with served(plan, folder, url, hooks) as gateway:
            ids = await _load(plan, gateway, hooks, outcome, progress)
            await _settle(plan, gateway, ids, outcome)
            await _told(plan, heard)
        await _judge(plan, url, folder / "blobs", ids, outcome)
        _judge_messages(plan, heard, outcome)
    return outcome


@asynccontextmanager
async def served(plan: Plan, folder: Path, url: str, hooks: str) -> AsyncIterator[Gateway]:
    """Start a gateway that is ended by force at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "chaos.toml"
    config.write_text(_CONFIG.format(port=port, url=url, blobs=folder / "blobs", hooks=hooks, step_ms=plan.step_ms))
    gateway = Gateway(config, f"http://127.0.0.1:{port}")
    try:
        await gateway.start()
        yield gateway
    finally:
        if gateway.process is not None:
            await gateway.kill()


async def _load(
    plan: Plan, gateway: Gateway, hooks: str, outcome: Outcome, progress: Callable[[str], None]
) -> dict[int, str]:
    """Send the jobs and kill meanwhile; return the id that was answered for each."""
    ids: dict[int, str] = {}
    rng = random.Random(plan.seed)
    let_in = [asyncio.Event() for _ in range(plan.jobs)]
    async with httpx.AsyncClient(base_url=gateway.url, timeout=10) as client:
        clients = [
            asyncio.create_task(
                _send(client, plan.body(number, hooks), f"{plan.seed}-{number}", let_in[number], ids, number)
            )
            for number in range(plan.jobs)
        ]
        for kill in range(plan.kills + 1):
            for event in let_in[: (kill + 1) * plan.jobs // (plan.kills + 1)]:
                event.set()
            await _until_accepted(ids, kill * plan.jobs // (plan.kills + 1) + 1, plan.patience_s)
            await asyncio.sleep(rng.uniform(0.2, plan.longest_gap_s))
            if kill == plan.kills:
                break
            kind = plan.kinds[kill % len(plan.kinds)]
            await _strike(kind, gateway, rng, outcome)
            progress(f"chaos: kill {kill + 1} of {plan.kills} ({kind}), {len(ids)} jobs accepted")
        await asyncio.gather(*clients)
    return ids


async def _until_accepted(ids: dict[int, str], count: int, patience_s: float) -> None:
    """Wait until so many jobs are accepted, so that every kill meets work; a machine may be slow."""
    until_s = time.monotonic() + patience_s
    while len(ids) < count and time.monotonic() < until_s:  # noqa: ASYNC110 - a look now and then is enough
        await asyncio.sleep(0.02)


async def _send(
    client: httpx.AsyncClient, body: dict, key: str, let_in: asyncio.Event, ids: dict[int, str], number: int
) -> None:
    """Send one job until it is answered, always with the same key, as a careful client does."""
    await let_in.wait()
    while number not in ids:
        try:
            answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.status_code == 202:
            ids[number] = answer.json()["id"]
        elif answer is not None and answer.status_code < 500 and answer.status_code != 429:
            raise RuntimeError(f"a job was not accepted: {answer.status_code} {answer.text[:300]}")
        else:
            await asyncio.sleep(0.1)


async def _strike(kind: str, gateway: Gateway, rng: random.Random, outcome: Outcome) -> None:
    """Kill, and start the gateway again where it was killed."""
    workers = gateway.workers()
    if kind in ("worker", "both") and workers:
        os.kill(rng.choice(workers), signal.SIGKILL)
    outcome.kills[kind] += 1
    if kind in ("gateway", "both"):
        outcome.recovery_s.append(time.time())  # the moment; `_judge` makes a duration of it
        await gateway.kill()
        await gateway.start()


async def _settle(plan: Plan, gateway: Gateway, ids: dict[int, str], outcome: Outcome) -> None:
    """Wait until every job has ended, or for so long that those left are called hung."""
    left, until_s = set(ids.values()), time.monotonic() + plan.patience_s
    async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as client:
        while left and time.monotonic() < until_s:
            for job_id in sorted(left):
                answer = await client.get(f"/v1/jobs/{job_id}")
                if answer.status_code == 404:
                    outcome.trouble.append(f"{job_id} is not known")
                    left.discard(job_id)
                elif answer.json()["status"] in ENDED:
                    left.discard(job_id)
            await asyncio.sleep(0.2)
    outcome.hung = len(left)
    outcome.trouble += [f"{job_id} has not ended" for job_id in sorted(left)]


async def _told(plan: Plan, heard: list[tuple[str, str]]) -> None:
    """Give messages that were under way at a kill the time to come again."""
    until_s = time.monotonic() + plan.patience_s
    while len({path for path, _ in heard}) < len(range(0, plan.jobs, 4)) and time.monotonic() < until_s:  # noqa: ASYNC110
        await asyncio.sleep(0.2)


async def _judge(plan: Plan, url: str, blobs: Path, ids: dict[int, str], outcome: Outcome) -> None:
    """Read from the tables what became of the jobs."""
    database = Database(url)
    await database.open()
    try:
        async with database.reading() as connection:
            rows = {row.id: row for row in await connection.execute(select(jobs))}
            ended = Counter(
                row.job_id for row in await connection.execute(select(events.c.job_id).where(events.c.kind.in_(ENDED)))
            )
            made = Counter((row.job_id, row.picture) for row in await connection.execute(select(results)))
            kept = list(await connection.execute(select(results.c.job_id, results.c.blob)))
            wanted = Counter(row.job_id for row in await connection.execute(select(pictures.c.job_id)))
            starts = list(await connection.execute(select(attempts).order_by(attempts.c.at_s)))
            outbox = Counter(row.job_id for row in await connection.execute(select(webhooks.c.job_id)))
    finally:
        await database.close()
    outcome.accepted = len(ids)
    outcome.ends = Counter(rows[job_id].status for job_id in ids.values() if job_id in rows)
    there = {job_id for job_id, blob in kept if (blobs / blob).is_file()}
    for job_id in ids.values():
        row = rows.get(job_id)
        whole = row is not None and (
            (row.status == "done" and sum(key[0] == job_id for key in made) == wanted[job_id] and job_id in there)
            or (row.status in ("refused", "failed") and row.error is not None)
        )
        if not whole and (row is None or row.ended_s is not None):
            outcome.lost += 1
            outcome.trouble.append(f"{job_id} is lost: {row and (row.status, row.error)}")
    outcome.doubled += len(rows) - len(set(ids.values())) + len(ids) - len(set(ids.values()))
    outcome.doubled += sum(count > 1 for tally in (ended, made, outbox) for count in tally.values())
    outcome.resumed = len({(row.job_id, row.picture) for row in starts if row.done_steps})
    outcome.again = sum(count > 1 for count in Counter((row.job_id, row.picture) for row in starts).values())
    outcome.taken_over = sum(row.takings > 1 for row in rows.values())
    moments = [row.at_s for row in starts]
    outcome.recovery_s = [
        min(later) - killed for killed in outcome.recovery_s if (later := [at_s for at_s in moments if at_s > killed])
    ]


def _judge_messages(plan: Plan, heard: list[tuple[str, str]], outcome: Outcome) -> None:
    """A message may come twice, as it says with its id; but there is one for each job that asked for it, and no other."""
    messages = Counter(path for path, _ in set(heard))
    asked = len(range(0, plan.jobs, 4))
    outcome.doubled += sum(count > 1 for count in messages.values())
    if len(messages) < asked:
        outcome.lost += asked - len(messages)
        outcome.trouble.append(f"{asked - len(messages)} messages were not told")


@contextmanager
def receiver() -> Iterator[tuple[list[tuple[str, str]], str]]:
    """Hear webhooks: a list of paths and message ids that grows, and the address."""
    heard: list[tuple[str, str]] = []

    class Hear(http.server.BaseHTTPRequestHandler):
        """Takes every message."""

        def do_POST(self) -> None:
            """Remember which message came where."""
            self.rfile.read(int(self.headers["content-length"]))
            heard.append((self.path, self.headers["webhook-id"]))
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that is overridden
            """Say nothing."""
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hear) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,))
        thread.start()
        try:
            yield heard, f"http://127.0.0.1:{server.server_port}/hooks/"
        finally:
            server.shutdown()
            thread.join()
