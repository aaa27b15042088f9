"""`POST /v1/images/generations`, exactly as OpenAI's clients expect it, and the pictures by address."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive

from edgegen.core.errors import BusyError, EdgegenError
from edgegen.serve import answers
from edgegen.serve.assembly import Gateway
from edgegen.serve.described import ImagesAnswer
from edgegen.serve.jobs.views import kept_picture
from edgegen.serve.journey import Ticket
from edgegen.serve.passage import Passage, passage_of
from edgegen.serve.pictures import at_side, text_at_side
from edgegen.serve.problems import Problem, problem_of
from edgegen.serve.store import Record
from edgegen.serve.wire import ImageBody

_STREAM: dict[int | str, dict] = {
    200: {"content": {"text/event-stream": {"schema": {}}}, "description": "The pictures."}
}
_PNG: dict[int | str, dict] = {200: {"content": {"image/png": {}}, "description": "The picture."}}
PATH = "/v1/images/generations"
SCOPE = "images"
SEND_TIMEOUT_S = 30.0  # a client that reads nothing for so long is taken to be gone
WATCH_AFTER_S = 0.02  # pictures that are done sooner are not worth watching whether their client is still there
_to_json = json.JSONEncoder(separators=(",", ":")).encode
_PICTURE_ID = re.compile(r"img_[0-9a-f]{24}")


def router(gateway: Gateway) -> APIRouter:
    """Return the routes of pictures."""
    routes = APIRouter(tags=["images"])

    @routes.post(PATH, response_model=ImagesAnswer, responses=_STREAM)
    async def create(body: ImageBody, request: Request) -> Response:
        """Make pictures. The `edgegen` object says what they may cost; the answer says where they were made and why."""
        return await make(gateway, body, request)

    @routes.get("/v1/images/{name}.png", response_class=Response, responses=_PNG)
    async def picture(name: str) -> Response:
        """Return a picture in the size that was asked for. Its id cannot be guessed; it is kept for a while."""
        known = _PICTURE_ID.fullmatch(name) is not None
        record = gateway.runtime.store.get(name) if known else None
        if record is not None and record.png is not None:
            png = await at_side(record.png, record.side)
        elif known and gateway.jobs is not None and (kept := await kept_picture(gateway.jobs, name)) is not None:
            png = kept
        else:
            raise Problem(404, "no picture with this id; the gateway keeps only the latest ones", code="not_found")
        return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=86400, immutable"})

    return routes


async def make(gateway: Gateway, body: ImageBody, request: Request) -> Response:
    """Make the pictures of a body that is well-formed. **Raises** `EdgegenError` and `Problem`."""
    tickets = _submit(gateway, body, passage_of(request.scope))
    if body.stream:
        return _stream(gateway, body, tickets[0])
    records = await _finished(gateway, tickets, request.receive)
    base_url = str(request.base_url).rstrip("/") if body.response_format == "url" else ""
    answer = await answers.images_response(body, records, policy=gateway.runtime.policy, base_url=base_url)
    return Response(to_json(answer), media_type="application/json")


def _submit(gateway: Gateway, body: ImageBody, passage: Passage) -> list[Ticket]:
    """Hand all pictures of a body in, or none."""
    runtime, tickets = gateway.runtime, []
    wanted = gateway.intake.requests(body, now_s=runtime.now_s())
    gateway.admission.enter(passage, len(wanted), SCOPE)
    try:
        for request in wanted:
            ticket = runtime.submit(
                request, group=passage.id, side=body.side, partial_images=body.partial_images or 0, span=passage.span
            )
            gateway.admission.follow(passage, ticket)
            tickets.append(ticket)
            if ticket.done.done():  # refused at once
                ticket.done.result()
    except BusyError as error:
        _abandon(gateway, tickets)
        raise gateway.admission.full(passage, len(wanted), SCOPE, error) from error
    except EdgegenError:
        _abandon(gateway, tickets)
        raise
    finally:
        gateway.admission.leave(passage, len(wanted) - len(tickets))
    return tickets


async def _finished(gateway: Gateway, tickets: list[Ticket], receive: Receive) -> list[Record]:
    """Wait for all pictures; when the client goes away or one of them fails, the work on the others stops."""
    pictures = [ticket.done for ticket in tickets]
    ready = pictures[0] if len(pictures) == 1 else asyncio.gather(*pictures)
    watch = _Watch(receive, ready)
    try:
        await ready
        return [ticket.record for ticket in tickets]
    finally:
        watch.end()
        _abandon(gateway, tickets)


class _Watch:
    """Ends the waiting for pictures when their client goes away; it begins to look only when they take a while."""

    def __init__(self, receive: Receive, ready: asyncio.Future):
        self._receive, self._ready = receive, ready
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    def end(self) -> None:
        """Look no longer."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._ready.done():
            self._ready.set_exception(Problem(499, "the client went away", code="client_closed_request"))


def _abandon(gateway: Gateway, tickets: list[Ticket]) -> None:
    for ticket in tickets:
        gateway.runtime.abandon(ticket)  # nothing happens to what has ended


def _stream(gateway: Gateway, body: ImageBody, ticket: Ticket) -> Response:
    """Return OpenAI's stream: pictures in the making, then the finished one."""

    async def events() -> AsyncIterator[ServerSentEvent]:
        try:
            async with contextlib.aclosing(_partials(body, ticket)) as partials:
                async for event in partials:
                    yield _event(event)
            yield _event(await answers.completed_event(body, await ticket.done, gateway.runtime.policy))
        except EdgegenError as error:
            yield ServerSentEvent(json.dumps(problem_of(error).body()), event="error")
        finally:
            gateway.runtime.abandon(ticket)

    return EventSourceResponse(events(), headers={"X-Accel-Buffering": "no"}, send_timeout=SEND_TIMEOUT_S)


async def _partials(body: ImageBody, ticket: Ticket) -> AsyncGenerator[dict, None]:
    index = 0
    while (png_b64 := await ticket.previews.get()) is not None:
        shown = await text_at_side(png_b64, body.side)
        yield answers.partial_event(body, ticket.record, shown, index)
        index += 1


def _event(data: dict) -> ServerSentEvent:
    return ServerSentEvent(_to_json(data), event=data["type"])
