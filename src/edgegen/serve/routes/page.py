"""The console page: files that were built beforehand and travel inside the package."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

CONSOLE = Path(__file__).parent.parent / "console"
_WITHOUT = "<!doctype html><title>edgegen</title><p>The gateway runs. Its console page was not built: scripts/console builds it."


def install(app: FastAPI) -> None:
    """Serve the page at `/` and its files beside it."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def index() -> Response:
        page = CONSOLE / "index.html"
        if not page.is_file():
            return HTMLResponse(_WITHOUT)
        return FileResponse(page, headers={"Cache-Control": "no-cache"})

    for file in sorted(path for path in CONSOLE.glob("*") if path.is_file() and path.name != "index.html"):
        routes.add_api_route(f"/{file.name}", _file(file), methods=["GET"])
    app.include_router(routes)
    if (CONSOLE / "assets").is_dir():
        app.mount("/assets", StaticFiles(directory=CONSOLE / "assets"), name="assets")


def _file(path: Path):
    async def send() -> Response:
        return FileResponse(path)

    return send
