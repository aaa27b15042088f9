"""`POST /v1/models`: a model that lies in the gateway's own folder of models is served from now on."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, StringConstraints

from edgegen.serve.assembly import Gateway
from edgegen.serve.auth import require
from edgegen.serve.described import ErrorBody
from edgegen.serve.passage import passage_of
from edgegen.serve.wire import STRICT, Names

SCOPE = "admin"
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorBody, "description": "A model of this name is served already."}
}


class PublicationBody(BaseModel):
    """Which model, and where it may run. A name, never a path: the files are in the gateway's folder of models."""

    model_config = STRICT

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    nodes: Names | None = Field(default=None, description="Names from GET /v1/nodes; default: those that run its base.")


def router(gateway: Gateway) -> APIRouter:
    """Return the route of new models."""
    routes = APIRouter(tags=["models"])

    @routes.post("/v1/models", status_code=201, responses=_CONFLICT)
    async def publish(body: PublicationBody, request: Request) -> dict[str, Any]:
        """Serve a model of the models folder from now on, and after a restart; answer as `GET /v1/models` lists it."""
        require(passage_of(request.scope).caller, SCOPE)
        return await gateway.publisher.publish(body.name, body.nodes)

    return routes
