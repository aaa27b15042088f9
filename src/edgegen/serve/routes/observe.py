"""What can be seen from outside: nodes, models, policies, requests, events, metrics."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from sse_starlette import EventSourceResponse, ServerSentEvent

from edgegen.generate import grammar
from edgegen.serve.assembly import Gateway
from edgegen.serve.bus import Subscription
from edgegen.serve.passage import passage_of
from edgegen.serve.problems import Problem
from edgegen.serve.store import MAX_RECORDS
from edgegen.serve.views import models_view, nodes_view, policies_view, story_view

_PING_S = 15
_SEND_TIMEOUT_S = 30.0  # a listener that reads nothing for so long gives its place to others


def router(gateway: Gateway) -> APIRouter:
    """Return the routes that only look."""
    routes = APIRouter(tags=["observe"])
    runtime = gateway.runtime

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the models, with their expected quality per category and number of steps."""
        return models_view(runtime)

    @routes.get("/v1/nodes")
    async def nodes() -> dict[str, Any]:
        """List the machines: what they can run, hold, work on and have done."""
        return nodes_view(runtime)

    @routes.get("/v1/policies")
    async def policies() -> dict[str, Any]:
        """List the policies that can decide; the one in use is marked."""
        return policies_view(runtime.policy)

    @routes.get("/v1/grammar")
    async def words() -> dict[str, Any]:
        """Say which prompts the built-in models understand."""
        return {
            "words": list(grammar.WORDS),
            "categories": list(grammar.CATEGORIES),
            "examples": {category: list(prompts) for category, prompts in grammar.EXAMPLES.items()},
        }

    @routes.get("/v1/requests")
    async def requests(limit: Annotated[int, Query(ge=1, le=MAX_RECORDS)] = 100) -> dict[str, Any]:
        """List the latest pictures, the newest first."""
        return {"data": [record.listed() for record in runtime.store.newest(limit)]}

    @routes.get("/v1/requests/{identifier}")
    async def story(identifier: str) -> dict[str, Any]:
        """Tell the story of one picture: what was decided, on what grounds, and what happened."""
        runtime.chores.catch_up()
        record = runtime.store.get(identifier)
        if record is None:
            raise Problem(404, "no request with this id; the gateway keeps only the latest ones", code="not_found")
        return story_view(record)

    @routes.get("/v1/usage")
    async def usage(request: Request) -> dict[str, Any]:
        """List what keys took since the gateway began; a key that may not observe sees its own."""
        return {"since": runtime.began, "data": gateway.keyring.totals(passage_of(request.scope).caller)}

    @routes.get("/v1/events", response_class=EventSourceResponse)
    async def events() -> EventSourceResponse:
        """Stream what happens: decided, progress, retargeted, migrated, finished, failed, refused, joined, lost; nodes every second."""
        subscription = runtime.bus.subscribe()
        if subscription is None:
            raise Problem(503, "too many listen to the events already", kind="server_error", code="too_many_listeners")
        return EventSourceResponse(_events(gateway, subscription), ping=_PING_S, send_timeout=_SEND_TIMEOUT_S)

    return routes


def operations(gateway: Gateway) -> APIRouter:
    """Return the routes for whoever runs the gateway."""
    routes = APIRouter(tags=["operations"])
    runtime = gateway.runtime

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return the figures in Prometheus' format."""
        runtime.chores.catch_up()
        for node in nodes_view(runtime)["data"]:
            runtime.metrics.queue.labels(node["name"]).set(node["queue"])
            runtime.metrics.utilisation.labels(node["name"]).set(node["utilisation"])
            runtime.metrics.alive.labels(node["name"]).set(node["alive"])
        runtime.metrics.waiting.set(len(runtime.dispatcher.waiting))
        runtime.metrics.promised.set(gateway.admission.promised)
        runtime.metrics.subscribers.set(runtime.bus.listeners)
        return Response(runtime.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Answer as long as the process is well."""
        return {"status": "ok"}

    @routes.get("/readyz")
    async def readyz() -> dict[str, str]:
        """Answer 200 when a picture could be made now, else 503."""
        if not runtime.ready():
            raise Problem(503, "no worker is up", kind="server_error", code="not_ready")
        return {"status": "ready"}

    return routes


async def _events(gateway: Gateway, subscription: Subscription) -> AsyncIterator[ServerSentEvent]:
    try:
        yield ServerSentEvent(json.dumps(nodes_view(gateway.runtime)), event="nodes")
        async for kind, text in subscription.events():
            yield ServerSentEvent(text, event=kind)
    finally:
        gateway.runtime.bus.unsubscribe(subscription)
