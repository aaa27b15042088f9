"""`/v1/jobs`: requests for pictures that are accepted once they are written down, and whose end somebody comes back for."""

import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from sse_starlette import EventSourceResponse, ServerSentEvent

from edgegen.core.errors import InputError
from edgegen.serve.assembly import Gateway
from edgegen.serve.described import ErrorBody, JobAnswer, JobList
from edgegen.serve.jobs.archive import wall_s
from edgegen.serve.jobs.keeper import Jobs
from edgegen.serve.jobs.reading import Seen
from edgegen.serve.jobs.records import Job, Once, Wanted
from edgegen.serve.jobs.views import event_text, job_head, job_view
from edgegen.serve.passage import ACCOUNT, passage_of
from edgegen.serve.problems import Problem
from edgegen.serve.storage.blobs import BlobError
from edgegen.serve.wire import JobBody

T = TypeVar("T")

PATH = "/v1/jobs"
SCOPE = "jobs"
MAX_PAGE = 100
_PING_S = 15
SEND_TIMEOUT_S = 30.0  # a listener that reads nothing for so long is taken to be gone
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": JobAnswer, "description": "Accepted: it is written down, and will end."},
    409: {"model": ErrorBody, "description": "The Idempotency-Key came before, with another body."},
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {}}}, "description": "The events."}
}
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="The same key and body name the same job, however often they are sent.",
    ),
]
LastEvent = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=20, description="The number of the last event that was seen.")
]


def router(gateway: Gateway) -> APIRouter:
    """Return the routes of jobs."""
    routes = APIRouter(tags=["jobs"])

    @routes.post(PATH, status_code=202, response_model=JobAnswer, responses=_ACCEPTED)
    async def accept(body: JobBody, request: Request, key: Key = None) -> Response:
        """Accept a request for pictures. The answer comes after it is on the disk; its end is told by the other routes."""
        jobs = _jobs(gateway)
        job, due_s, once = _read(gateway, jobs, body, _account(request), key)
        gateway.admission.ask(passage_of(request.scope), SCOPE, len(job.pictures))
        job_id = await jobs.accept(job, due_s, once)
        shown = await _view(jobs, job_id, request)
        while (
            shown is None and job_id != job.id
        ):  # the one that came before was forgotten meanwhile, and its key with it
            job_id = await jobs.accept(job, due_s, once)
            shown = await _view(jobs, job_id, request)
        headers = {"Location": f"{PATH}/{job_id}"}
        if job_id != job.id:
            headers["Idempotent-Replayed"] = "true"
        return JSONResponse(_there(shown), status_code=202, headers=headers)

    @routes.get(PATH, response_model=JobList)
    async def listed(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
        after: Annotated[
            str | None, Query(max_length=64, description="The id of the last job of the page before.")
        ] = None,
    ) -> Response:
        """List jobs, the newest first."""
        jobs = _jobs(gateway)
        known = after is None or _is_id(after)
        rows = await jobs.reader.page(_account(request), limit + 1, after) if known else None
        if rows is None:
            raise InputError("after should be the id of a job of yours", param="after")
        data = [job_head(row) for row in rows[:limit]]
        return JSONResponse({"object": "list", "data": data, "has_more": len(rows) > limit})

    @routes.get(PATH + "/{identifier}", response_model=JobAnswer)
    async def shown(identifier: str, request: Request) -> Response:
        """Return a job: how it stands, and once it is done, what `POST /v1/images/generations` would have answered."""
        return JSONResponse(_there(await _view(_jobs(gateway), identifier, request)))

    @routes.delete(PATH + "/{identifier}", response_model=JobAnswer)
    async def cancel(identifier: str, request: Request) -> Response:
        """End a job that is not wanted any more; one that has ended stays as it is."""
        jobs = _jobs(gateway)
        _there(await _seen(jobs, identifier, _account(request)))
        await jobs.cancel(identifier)
        return JSONResponse(_there(await _view(jobs, identifier, request)))

    @routes.get(PATH + "/{identifier}/events", response_class=EventSourceResponse, responses=_EVENTS)
    async def events(identifier: str, request: Request, last: LastEvent = None) -> EventSourceResponse:
        """Stream what happened to a job and what happens, until its end; `Last-Event-ID` goes on after an event."""
        jobs = _jobs(gateway)
        _there(await _seen(jobs, identifier, _account(request)))
        if last is not None and not (last.isascii() and last.isdigit()):
            raise InputError("Last-Event-ID should be the number of an event", param="Last-Event-ID")
        after = min(int(last or 0), 2**31 - 1)
        return EventSourceResponse(
            _stream(jobs, identifier, after),
            ping=_PING_S,
            send_timeout=SEND_TIMEOUT_S,
            headers={"X-Accel-Buffering": "no"},
        )

    return routes


def _jobs(gateway: Gateway) -> Jobs:
    if gateway.jobs is None:
        raise Problem(404, "this gateway takes no jobs; [storage] url of its configuration is empty", code="no_jobs")
    return gateway.jobs


def _read(
    gateway: Gateway, jobs: Jobs, body: JobBody, account: str, key: str | None
) -> tuple[Job, float | None, Once | None]:
    """Return the job of a body, when it is due, and what makes it the same as another one."""
    if body.stream:
        raise InputError("stream is not for jobs; GET /v1/jobs/{id}/events tells what happens", param="stream")
    webhook = jobs.targets.check(body.webhook) if body.webhook else None
    requests = gateway.intake.requests(body, now_s=gateway.runtime.now_s())
    gateway.runtime.dispatcher.catalog.row(requests[0])  # names what does not exist, if anything
    said = body.model_dump(mode="json", exclude_unset=True)
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    said.pop("webhook", None)
    created_s, limits = wall_s(), requests[0].limits
    wanted = tuple(Wanted(number, request.id, request.seed) for number, request in enumerate(requests))
    job = Job(f"job_{secrets.token_hex(12)}", account, said, created_s, wanted, webhook, takings=1)
    due_s = created_s + limits.deadline_s if limits.deadline_s < float("inf") else None
    once = Once(key, hashlib.sha256(text.encode()).hexdigest()) if key else None
    return job, due_s, once


async def _seen(jobs: Jobs, identifier: str, account: str) -> Seen | None:
    return await jobs.reader.job(identifier, account) if _is_id(identifier) else None


async def _view(jobs: Jobs, identifier: str, request: Request) -> dict[str, Any] | None:
    """Return a job as the API shows it, or None where there is none with this id (any more)."""
    account = _account(request)
    seen = await _seen(jobs, identifier, account)
    if seen is None:
        return None
    try:
        return await job_view(jobs, seen, _base_url(request))
    except BlobError:
        if await _seen(jobs, identifier, account) is None:  # it was forgotten between the row and the picture
            return None
        raise


def _there(found: T | None) -> T:
    if found is None:
        raise Problem(404, "no job with this id; jobs are kept for a while after their end", code="not_found")
    return found


def _is_id(identifier: str) -> bool:
    return identifier.isascii() and identifier.replace("_", "").isalnum() and len(identifier) <= 64


async def _stream(jobs: Jobs, identifier: str, after: int) -> AsyncIterator[ServerSentEvent]:
    async for event in jobs.follow(identifier, after):
        yield ServerSentEvent(event_text(event), event=event.kind, id=str(event.number))


def _account(request: Request) -> str:
    return request.scope.get(ACCOUNT, "")


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")
