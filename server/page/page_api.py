"""The page at `/` and its facts about the model.

The files of `page/` are read once, when the routes are created. There is no build step, and nothing
comes from other servers, which the policy below also forbids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from affectstream.server import security
from affectstream.server.limits import ServerLimits
from affectstream.server.routes import ABOUT, PAGE
from affectstream.serving.export.model_card import (
    LEGAL_NOTE,
    LIMITATIONS,
    Evaluations,
    model_card,
)

FOLDER = Path(__file__).parent / "static"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
HEADERS = {**security.HEADERS, "cache-control": "no-cache"}


def _files() -> dict[str, Path]:
    """Request path -> file; `/` is `index.html`."""
    files = {
        f"/{path.name}": path
        for path in sorted(FOLDER.iterdir())
        if path.suffix in CONTENT_TYPES and path.name != "index.html"
    }
    return {PAGE: FOLDER / "index.html", **files}


# Paths that a browser requests before it can send a token.
PUBLIC_PATHS = frozenset({*_files(), ABOUT})


def routes(about: Callable[[], dict[str, Any]]) -> list[Route]:
    """GET and HEAD of the page, its files and `/v1/about`; other methods return 405.

    Args:
      about: returns `about_json` of the currently served version.
    """

    def answer_about(request: Request) -> Response:
        return JSONResponse(about(), headers=HEADERS)

    pages = [Route(path, _page(file), methods=["GET"]) for path, file in _files().items()]
    return [*pages, Route(ABOUT, answer_about, methods=["GET"])]


def _page(file: Path) -> Callable[[Request], Awaitable[Response]]:
    content = file.read_bytes()
    headers = HEADERS | {"etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}
    content_type = CONTENT_TYPES[file.suffix]

    async def answer(request: Request) -> Response:
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=content_type)

    return answer


def about_json(
    config: dict[str, Any],
    name: str,
    version: int,
    limits: ServerLimits,
    needs_token: bool,
    evaluations: Evaluations | None = None,
) -> dict[str, Any]:
    """JSON of `/v1/about`: facts about the model for the page.

    Args:
      config: `assets/config.json` of the version.
      needs_token: whether `/v1/analyze` requires a bearer token.
      evaluations: of its run; None uses those in `config`.
    """
    scored = evaluations or config.get("evaluation", ())
    return {
        "name": name,
        "version": version,
        "labels": list(config["labels"]),
        "streams": list(config["streams"]),
        "text_input": config.get("text_input"),
        "recipe": config["recipe"]["name"],
        "synthetic": bool(config["synthetic"]),
        "leak_allowed": bool(config["leak_allowed"])
        or any(one.get("leak_allowed") for one in scored),
        "card_markdown": model_card(config, scored, name, version),
        "law": LEGAL_NOTE,
        "meaning": list(LIMITATIONS),
        "limits": {
            "max_upload_bytes": limits.max_upload_bytes,
            "max_media_s": limits.max_media_s,
        },
        "needs_token": needs_token,
    }
