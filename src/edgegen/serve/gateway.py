"""The HTTP application: routes and guards around a Runtime."""

from fastapi import FastAPI

import edgegen
from edgegen.serve import problems
from edgegen.serve.assembly import Gateway
from edgegen.serve.described import ERRORS, describe
from edgegen.serve.direct import Direct
from edgegen.serve.guard import Guard
from edgegen.serve.routes import images, jobs, models, observe, page, plan, workers
from edgegen.serve.wire import FIELDS


def build_app(gateway: Gateway) -> FastAPI:
    """Return the ASGI application of a gateway whose runtime somebody else opens and closes."""
    app = FastAPI(
        title="edgegen",
        version=edgegen.__version__,
        description="OpenAI's Images API at the network edge, with a say in where, how and at what cost.",
        docs_url=None,  # the page would load its scripts from elsewhere
        redoc_url=None,
    )
    problems.install(app, FIELDS)
    app.include_router(images.router(gateway), responses=ERRORS)
    app.include_router(jobs.router(gateway), responses=ERRORS)
    app.include_router(plan.router(gateway), responses=ERRORS)
    app.include_router(observe.router(gateway), responses=ERRORS)
    app.include_router(observe.operations(gateway), responses=ERRORS)
    app.include_router(models.router(gateway), responses=ERRORS)
    app.include_router(workers.router(gateway), responses=ERRORS)
    page.install(app)
    describe(app)
    app.add_middleware(Direct, gateway=gateway)
    app.add_middleware(Guard, keys=gateway.keys, metrics=gateway.runtime.metrics, tracer=gateway.tracer)
    return app
