"""All HTTP routes of ours, and their description in OpenAPI."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from tomoservice import __version__
from tomoservice.service import (
    batches_api,
    events_api,
    health_api,
    jobs_api,
    live_api,
    me_api,
    previews_api,
    processed,
    recipes_api,
    reconstructions_api,
    scans_api,
    sweeps_api,
    thumbnails_api,
)
from tomoservice.service.events import ServiceEvent

PREFIX = "/api/v1"
ROUTERS = (
    me_api.router,
    scans_api.router,
    thumbnails_api.router,
    previews_api.router,
    recipes_api.router,
    reconstructions_api.router,
    jobs_api.router,
    live_api.router,
    batches_api.router,
    sweeps_api.router,
    events_api.router,
    health_api.router,
)
"""Routes that need an office; Tiled's configuration names the others."""


ABOUT = """Tomography beside Tiled's own routes.

The WebSocket `/api/v1/tomo/events` sends a `ServiceEvent` for everything that happens to scans,
reconstructions (live ones, too), sweeps, batches and recipes that the key may see.
"""


def office_routes() -> list[APIRouter]:
    """Return the routes that are mounted into Tiled's application."""
    return list(ROUTERS)


def openapi() -> dict[str, Any]:
    """Return the OpenAPI description of our routes alone, in a stable order."""
    app = FastAPI()
    for router in (*ROUTERS, processed.router):
        app.include_router(router, prefix=PREFIX)
    described = get_openapi(title="Tomoservice", version=__version__, description=ABOUT, routes=app.routes)
    # OpenAPI has no words for a WebSocket, but clients want to know what comes.
    event = ServiceEvent.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = {**described["components"]["schemas"], **event.pop("$defs"), ServiceEvent.__name__: event}
    components = {**described["components"], "schemas": dict(sorted(schemas.items()))}
    paths = dict(sorted(described["paths"].items()))
    return {**described, "paths": paths, "components": components}
