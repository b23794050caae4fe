"""Draws `docs/images/page.png`: the page in Chromium over an answer that is made up.

`python -m tests.support.page_picture docs/images/page.png`, whenever the page looks different.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import shutil
import sys
import wave
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from affectstream.serving.inference.prediction import Prediction, WindowPrediction
from tests.support.scripted_page import LABELS, ScriptedServer, listening

DURATION_S, WINDOW_S, HOP_S = 21.0, 3.0, 1.5
RATE_HZ = 8000
WIDTH_PX, HEIGHT_PX, MARGIN_PX = 1100, 1900, 6
FACE_PX = 96
# Windows without a face.
AWAY = (7, 8)
NUM_WINDOWS = round((DURATION_S - WINDOW_S) / HOP_S) + 1
COLUMNS_PER_SECOND, TONES = 25, 64


def _shares(where: float, width: float) -> dict[str, float]:
    """Shares that wander from label to label, `where` in (0, 7)."""
    apart = np.abs((np.arange(len(LABELS)) - where + 3.5) % 7 - 3.5)
    shares = np.exp(-((apart / width) ** 2)) + 0.03
    return dict(zip(LABELS, (shares / shares.sum()).tolist(), strict=True))


def _mean(all_shares: list[dict[str, float]]) -> dict[str, float]:
    return {label: float(np.mean([shares[label] for shares in all_shares])) for label in LABELS}


def _made(kind: Any, **values: Any) -> Any:
    """A prediction, with those values that it has a field for."""
    names = {one.name for one in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in names})


def _window(index: int) -> WindowPrediction:
    where = 1.2 + index * 0.42 + 0.8 * np.sin(index / 2)
    voice, face = _shares(where, 1.3), _shares(where + 0.4, 1.0)
    streams = {"audio": voice} | ({} if index in AWAY else {"video": face})
    shares = _mean(list(streams.values()))
    made: WindowPrediction = _made(
        WindowPrediction,
        start_s=index * HOP_S,
        end_s=index * HOP_S + WINDOW_S,
        label=max(shares, key=lambda label: shares[label]),
        probabilities=shares,
        streams=streams,
        face_coverage=0.0 if index in AWAY else 1.0,
        sound_coverage=1.0,
        speech_share=0.8,
    )
    return made


def prediction(name: str) -> Prediction:
    """Thirteen windows of three seconds; two of them have no face."""
    windows = tuple(_window(index) for index in range(NUM_WINDOWS))
    shares = _mean([window.probabilities for window in windows])
    made: Prediction = _made(
        Prediction,
        path=name,
        duration_s=DURATION_S,
        label=max(shares, key=lambda label: shares[label]),
        probabilities=shares,
        streams={
            stream: _mean([w.streams[stream] for w in windows if stream in w.streams])
            for stream in ("audio", "video")
        },
        face_coverage=1 - len(AWAY) / NUM_WINDOWS,
        sound_coverage=1.0,
        speech_share=0.78,
        windows=windows,
    )
    return made


def _face(label: str) -> str:
    """A drawing, whose mouth goes up or down."""
    picture = np.full((FACE_PX, FACE_PX, 3), 205, np.uint8)
    middle, ink = (FACE_PX // 2, FACE_PX // 2), (70, 70, 70)
    cv2.ellipse(picture, middle, (34, 42), 0, 0, 360, (225, 225, 225), -1, cv2.LINE_AA)
    for x in (35, 61):
        cv2.circle(picture, (x, 40), 4, ink, -1, cv2.LINE_AA)
    arc = {"happy": (0, 180, 60), "surprised": (0, 360, 68)}.get(label, (180, 360, 74))
    cv2.ellipse(picture, (48, arc[2]), (15, 9), 0, arc[0], arc[1], ink, 3, cv2.LINE_AA)
    return base64.b64encode(cv2.imencode(".jpg", picture)[1].tobytes()).decode()


def _sound() -> dict[str, Any]:
    """Three gliding tones whose loudness comes and goes."""
    rng = np.random.default_rng(0)
    at_s = np.arange(round(DURATION_S * 50)) / 50
    loud = 0.15 + 0.7 * np.abs(np.sin(2.4 * at_s) * np.sin(0.9 * at_s + 0.4))
    column_s = np.arange(round(DURATION_S * COLUMNS_PER_SECOND)) / COLUMNS_PER_SECOND
    levels = rng.uniform(0, 60, (len(column_s), TONES))
    for k in (1, 2, 3):
        tone = k * (11 + 4 * np.sin(1.3 * column_s))
        near = np.exp(-(((np.arange(TONES) - tone[:, None]) / 1.3) ** 2))
        levels += 230 / k**0.5 * near * np.interp(column_s, at_s, loud)[:, None]
    values = base64.b64encode(np.clip(levels, 0, 255).astype(np.uint8).tobytes()).decode()
    return {
        "event": "sound",
        "start_s": 0.0,
        "end_s": DURATION_S,
        "envelope": [[-value, value] for value in loud.tolist()],
        "spectrogram": {
            "rows": TONES,
            "columns": len(column_s),
            "columns_a_second": COLUMNS_PER_SECOND,
            "values": values,
        },
    }


def _silence() -> bytes:
    """A file that a browser can play."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(bytes(2 * round(DURATION_S * RATE_HZ)))
    return made.getvalue()


def events(name: str) -> list[dict[str, Any]]:
    """What the server sends for the recording."""
    result = prediction(name).as_json()
    start = {"event": "start", "duration_s": DURATION_S, "has_audio": True, "has_video": True}
    told: list[dict[str, Any]] = [start, _sound()]
    for index, window in enumerate(result["windows"]):
        face = None if index in AWAY else _face(window["label"])
        told.append({"event": "window", **window, "face_jpeg": face, "face_box": None})
    return [*told, {"event": "result", "result": result}]


def main(target: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no chromium on PATH; type: sh scripts/chromium.sh")
    with listening(ScriptedServer(events)) as server, sync_playwright() as driver:
        server.about |= {"name": "demo", "version": 1, "synthetic": True}
        sandbox = () if os.geteuid() else ("--no-sandbox",)
        browser = driver.chromium.launch(executable_path=chromium, args=[*sandbox])
        page: Any = browser.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
        page.goto(server.address)
        page.wait_for_selector("#facts dt")
        file = {"name": "made-up.wav", "mimeType": "audio/wav", "buffer": _silence()}
        page.set_input_files("#file", files=[file])
        page.click("#analyze")
        page.wait_for_selector("#answer:visible")
        page.focus("#windows")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.wait_for_timeout(500)
        page.evaluate("scrollTo(0, 0)")
        shown = page.locator("#result").bounding_box()
        height = round(shown["y"] + shown["height"]) + MARGIN_PX
        clip = {"x": 0, "y": 0, "width": WIDTH_PX, "height": height}
        page.screenshot(path=target, clip=clip)
        browser.close()
    with Image.open(target) as picture:  # of few colours, which is small
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
