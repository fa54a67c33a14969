"""The web page: files built from ``tomoservice/web``, served under ``/tomo/``."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

PATH = "/tomo"
"""Where the page is."""
BUILT = Path(__file__).resolve().parents[1] / "web" / "dist"
"""What `npm run build` writes, and a wheel carries."""
ENTRY = "index.html"
ASSETS = "assets"
"""Folder of files whose names change with their content."""
NOT_FOUND, UNAVAILABLE = 404, 503
POLICY = "; ".join(
    (
        "default-src 'self'",
        # The viewer's arrays (ndarray) compile their own access functions.
        "script-src 'self' 'unsafe-eval'",
        # Pictures that were fetched with a key, and styles that components compute.
        "img-src 'self' blob: data:",
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self' ws: wss:",
        "frame-ancestors 'none'",
        "base-uri 'self'",
    )
)
"""What the page may load: nothing that is not the service's own."""
NOT_BUILT = """<!doctype html>
<html lang="en">
<title>Tomoservice</title>
<body style="font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem">
<h1>The page is not built</h1>
<p>The service runs; only its web page is missing. It is built from the source by npm (Node 20 or newer):</p>
<pre>make page</pre>
<p>in the folder of the source, or <code>npm ci &amp;&amp; npm run build</code> in
<code>tomoservice/web</code>. Then load this page again. A published wheel carries it.</p>
<p>Meanwhile: the command line, the Python client, and <a href="/ui/browse">Tiled's own pages</a>.</p>
"""

Scope = MutableMapping[str, Any]


def page_application(folder: Path = BUILT) -> Starlette:
    """Return the ASGI application that serves the page.

    Parameters
    ----------
    folder : Path
        Where it has been built; it may be built while the service runs.
    """
    files = _PageFiles(folder)
    return Starlette(routes=[Mount("/", files)], middleware=[Middleware(GZipMiddleware, minimum_size=1000)])


class _PageFiles(StaticFiles):
    """Serves the files of the page; addresses of its screens are all the same file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True, check_dir=False)
        # The folder may come later.
        self.config_checked = True
        self._entry = folder / ENTRY

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or the page for the address of a screen."""
        if not self._entry.is_file():
            return HTMLResponse(NOT_BUILT, UNAVAILABLE)
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != NOT_FOUND or not _is_screen(path):
                raise
            response = await super().get_response(ENTRY, scope)
        lasting = PurePosixPath(path).parts[:1] == (ASSETS,)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        # Addresses hold uids and recipes, which are nobody else's business.
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def _is_screen(path: str) -> bool:
    return PurePosixPath(path).parts[:1] != (ASSETS,)
