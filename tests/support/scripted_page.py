"""A small server of the page: the real routes, and an analysis that follows a script."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import cv2
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from affectstream.preprocessing.labels import BASIC7
from affectstream.server.analysis.analyze_api import TEXT_ONLY_NAME
from affectstream.server.page import page_api
from affectstream.serving.inference.prediction import Prediction, WindowPrediction

LABELS = BASIC7.labels
DURATION_S = 6.0
TOKEN = "right-token"
REFUSED = {"big.wav": 413, "busy.wav": 429, "strange.wav": 415}
CARD = """# toy 3

**SYNTHETIC: made up.**

- streams: audio, video
- a `code` and <img src=x onerror=alert(1)>

## Data

| corpus | licence |
|---|---|
| toy | <b>none</b> |
"""


def about() -> dict[str, Any]:
    """What `page_api.about_json` gives, for a model of sound and face."""
    return {
        "name": "toy",
        "version": 3,
        "labels": list(LABELS),
        "streams": ["audio", "video"],
        "recipe": "late-fusion",
        "synthetic": False,
        "leak_allowed": False,
        "card_markdown": CARD,
        "law": "A law.",
        "meaning": ["It does not know what anybody feels.", "Most corpora are acted."],
        "limits": {"max_upload_bytes": 1_000_000, "max_media_s": 60.0},
        "needs_token": False,
    }


def _shares(best: int) -> dict[str, float]:
    """0.7 for one label; 5e-05 for another, which Python and JavaScript write differently."""
    shares = dict.fromkeys(LABELS, 0.06)
    shares[LABELS[best]] = 0.7
    small = LABELS[(best + 1) % len(LABELS)]
    shares[small] = 0.00005
    shares[LABELS[(best + 2) % len(LABELS)]] += 0.05995
    return shares


def prediction(name: str) -> Prediction:
    """Three windows; the last one has no face. Of `short.wav` one window of speech."""
    if name == "short.wav":
        window = WindowPrediction(0.0, 3.0, LABELS[1], _shares(1), {"audio": _shares(1)}, None)
        return Prediction(
            name,
            3.0,
            LABELS[1],
            _shares(1),
            {"audio": _shares(1)},
            None,
            (window,),
            speech_share=0.62,
        )
    windows = []
    for i, (start_s, end_s) in enumerate(((0.0, 3.0), (1.5, 4.5), (3.0, 6.0))):
        streams = {"audio": _shares(i)} | ({"video": _shares(i + 1)} if i < 2 else {})
        coverage = (1.0, 0.25, 0.0)[i]
        windows.append(
            WindowPrediction(start_s, end_s, LABELS[i], _shares(i), streams, coverage),
        )
    streams = {"audio": _shares(1), "video": _shares(2)}
    warnings = ("a face in only 40% of the frames looked at",)
    return Prediction(
        name,
        DURATION_S,
        LABELS[1],
        _shares(1),
        streams,
        0.4,
        tuple(windows),
        warnings,
        sound_coverage=0.9,
        speech_share=0.004,
    )


def of_words() -> Prediction:
    """Words alone: one window without length."""
    shares = _shares(1)
    told = {"text": shares}
    window = WindowPrediction(0.0, 0.0, LABELS[1], shares, told, None, known_word_share=0.75)
    return Prediction(
        TEXT_ONLY_NAME, 0.0, LABELS[1], shares, told, None, (window,), known_word_share=0.75
    )


def _sound(start_s: float, end_s: float) -> dict[str, Any]:
    columns = round((end_s - start_s) * 25)
    # Loud low tones, so that the lower half of the picture is bright.
    levels = np.tile(np.where(np.arange(64) < 32, 255, 0).astype(np.uint8), columns)
    return {
        "event": "sound",
        "start_s": start_s,
        "end_s": end_s,
        "envelope": [[-0.5, 0.5]] * round((end_s - start_s) * 50),
        "spectrogram": {
            "rows": 64,
            "columns": columns,
            "columns_a_second": 25,
            "values": base64.b64encode(levels.tobytes()).decode(),
        },
    }


def events(name: str) -> list[dict[str, Any]]:
    """The whole script of one good recording, or of words alone."""
    if name == TEXT_ONLY_NAME:
        return [{"event": "result", "result": of_words().as_json()}]
    result = prediction(name).as_json()
    told: list[dict[str, Any]] = [
        {
            "event": "start",
            "duration_s": result["duration_s"],
            "has_audio": True,
            "has_video": True,
        }
    ]
    face = np.full((16, 16, 3), 180, np.uint8)
    jpeg = base64.b64encode(cv2.imencode(".jpg", face)[1].tobytes()).decode()
    for i, window in enumerate(result["windows"]):
        told.append(_sound(2.0 * i, 2.0 * i + 2.0))
        told.append(
            {"event": "progress", "done_s": window["end_s"], "duration_s": result["duration_s"]}
        )
        seen = {"face_jpeg": jpeg if i < 2 else None, "face_box": [1, 1, 9, 9] if i < 2 else None}
        told.append({"event": "window", **window, **seen})
    return [*told, {"event": "result", "result": result}]


class ScriptedServer:
    """The page over a script that is chosen by the name of the uploaded file.

    Args:
      script: name of a recording -> the events that answer it.

    Attributes:
      about: what `/v1/about` tells.
      may_tell: unset while `/v1/about` is to keep its answer back.
      needs_token: whether `/v1/analyze` asks for `TOKEN`, and `/v1/about` where it does not say so.
      received: what came to `/v1/analyze`: name, content type, body.
      left: set when a client left a stream before its end.
    """

    def __init__(self, script: Callable[[str], list[dict[str, Any]]] = events) -> None:
        self.address = ""
        self._script = script
        self.reset()

    def reset(self) -> None:
        self.about = about()
        self.may_tell = threading.Event()
        self.may_tell.set()
        self.needs_token = False
        self.received: list[dict[str, Any]] = []
        self.left = threading.Event()

    def app(self) -> Starlette:
        async def locked(request: Request) -> Response:
            if self._refuses(request) and not self.about["needs_token"]:
                return JSONResponse({"error": "no valid token"}, 401)
            await asyncio.to_thread(self.may_tell.wait, 30)
            return JSONResponse(self.about)

        pages = [r for r in page_api.routes(lambda: self.about) if r.path != page_api.ABOUT]
        analyze = Route("/v1/analyze", self._analyze, methods=["POST"])
        return Starlette(routes=[*pages, Route(page_api.ABOUT, locked), analyze])

    def _refuses(self, request: Request) -> bool:
        return self.needs_token and request.headers.get("authorization") != f"Bearer {TOKEN}"

    async def _analyze(self, request: Request) -> Response:
        if self._refuses(request):
            return JSONResponse({"error": "no valid token"}, 401)
        name = request.query_params.get("name", TEXT_ONLY_NAME)
        kind = request.headers.get("content-type", "")
        self.received.append({"name": name, "type": kind, "body": await request.body()})
        if name in REFUSED:
            headers = {"Retry-After": "3"} if name == "busy.wav" else {}
            return JSONResponse({"error": f"{name}: refused."}, REFUSED[name], headers)
        return StreamingResponse(self._lines(name), media_type="application/x-ndjson")

    async def _lines(self, name: str) -> AsyncIterator[str]:
        script = self._script(name)
        if name == "bad.wav":
            error = f"{name}: <b>not a media file</b>"
            script = [script[0], {"event": "error", "error": error, "status": 422}]
        if name == "torn.wav":
            script = script[:4]
        try:
            for event in script:
                # Cut in two, as a network may do.
                line = json.dumps(event)
                yield line[:9]
                yield line[9:] + "\n"
                if name == "slow.wav" and event["event"] == "window":
                    await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.left.set()
            raise


@contextlib.contextmanager
def listening(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """Serves on a free port of loopback until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server.address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        config = uvicorn.Config(server.app(), log_level="critical", ws="none", lifespan="off")
        config.timeout_graceful_shutdown = 1
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield server
        finally:
            running.should_exit = True
            thread.join(10)
