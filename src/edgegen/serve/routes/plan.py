"""`POST /v1/plan`: what would be decided for this request now, why, and what else could be done; nothing runs."""

from typing import Any

from fastapi import APIRouter, Request

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.core.policy import AbstractPolicy
from edgegen.registry import load_policy
from edgegen.serve.assembly import Gateway
from edgegen.serve.passage import passage_of
from edgegen.serve.wire import PlanBody

BUDGET_S = 0.05  # a request may name any policy with any options, but not make the gateway stand still


def router(gateway: Gateway) -> APIRouter:
    """Return the planning route."""
    routes = APIRouter(tags=["plan"])
    runtime = gateway.runtime

    @routes.post("/v1/plan")
    async def plan(body: PlanBody, request: Request) -> dict[str, Any]:
        """Decide and explain without running anything."""
        gateway.admission.ask(passage_of(request.scope), "plan")
        wanted = gateway.intake.requests(body, now_s=runtime.now_s())[0]
        name = body.edgegen.policy if body.edgegen else None
        policy = _policy(name).within(BUDGET_S) if name else None
        told = runtime.dispatcher.explain(wanted, runtime.now_s(), policy=policy, policy_name=name or runtime.policy)
        return {"decision": None, "predicted": None, "quality_estimate": None, **told}

    return routes


def _policy(name: str) -> AbstractPolicy:
    try:
        return load_policy(name)
    except UnknownNameError as error:
        raise UnknownNameError(error.kind, error.name, error.known, param="edgegen.policy") from error
    except (InputError, ValueError) as error:
        raise InputError(str(error), param="edgegen.policy") from error
