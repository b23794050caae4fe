"""The page in Debian's Chromium: its files, its answers, and the real server behind it."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from affectstream.commands.jobs.prediction_outputs import csv_rows
from affectstream.core import atomic_io
from affectstream.server.limits import ServerLimits
from affectstream.server.page import page_api
from affectstream.serving.export.model_card import LEGAL_NOTE, LIMITATIONS, model_card
from tests.support import page_reader
from tests.support.page_reader import Reader
from tests.support.scripted_page import LABELS, ScriptedServer, about, prediction

SLOW_MS = 120_000
browser, scripted = page_reader.browser, page_reader.scripted
server, open_page = page_reader.server, page_reader.open_page

# === Routes ===


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=page_api.routes(about)))


def test_files_come_with_their_types_and_a_policy(client: TestClient) -> None:
    types = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}
    for path, kind in types.items():
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.post("/").status_code == 405
    assert client.post("/v1/about").status_code == 405
    assert client.get("/v1/about").json() == about()


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    for path in sorted(page_api.PUBLIC_PATHS - {page_api.ABOUT}):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        text = text.replace("http://…/v1/analyze", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "innerHTML" not in text, path


def test_about_tells_of_the_model(client: TestClient) -> None:
    config: dict[str, Any] = {
        "streams": ["audio"],
        "label_set": "basic7",
        "labels": list(LABELS),
        "recipe": {"name": "relu-cnn-audio", "source": "made up", "encoder": "", "pretrained": ""},
        "calibration": {"temperature": 1.0},
        "stream_info": {},
        "ensemble_members": [],
        "data": [],
        "notes": [],
        "scores": {},
        "seed": 0,
        "git_revision": "",
        "synthetic": True,
        "leak_allowed": False,
    }
    from affectstream.modeling.recipes.audio import RELU_CNN_AUDIO

    config["recipe"] = RELU_CNN_AUDIO.as_json() | config["recipe"]
    told = page_api.about_json(config, "voice", 2, ServerLimits(max_upload_bytes=5), True)
    assert told["card_markdown"] == model_card(config, None, "voice", 2)
    assert (told["law"], told["meaning"]) == (LEGAL_NOTE, list(LIMITATIONS))
    assert (told["name"], told["version"], told["recipe"]) == ("voice", 2, "relu-cnn-audio")
    assert (told["synthetic"], told["leak_allowed"], told["needs_token"]) == (True, False, True)
    assert told["limits"] == {"max_upload_bytes": 5, "max_media_s": 600.0}
    assert told["text_input"] is None
    numbers = page_api.about_json(
        {**config, "text_input": "token_ids"}, "x", 1, ServerLimits(), False
    )
    assert numbers["text_input"] == "token_ids"
    scored = page_api.about_json(
        config, "voice", 2, ServerLimits(), False, [{"leak_allowed": True}]
    )
    assert scored["leak_allowed"] is True


# === The page over a script ===


def test_an_answer_is_drawn_as_it_comes(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    reader = open_page()
    reader.analyze("good.wav")
    assert server.received == [
        {"name": "good.wav", "type": "application/octet-stream", "body": b"sound"}
    ]
    assert reader.text("#answer-line") == "happy over 6.0 s, from voice and face"
    bars = reader.page.eval_on_selector_all("#answer-bars li", "all => all.map(x => x.innerText)")
    assert bars[0].split() == ["happy", "0.70"]
    assert [bar.split()[1] for bar in bars] == ["0.70", "0.12", *["0.06"] * 4, "0.00"]
    assert reader.text("#coverage") == (
        "A face was found in 40 % of the frames looked at. There is sound in 90 % of the time."
        " Speech was found in less than 1 % of the sound."
    )
    assert reader.text("#warning-list") == "a face in only 40% of the frames looked at"
    assert reader.rows() == ["answer", "audio", "video"]
    assert reader.page.locator("#faces img").count() == 2
    assert reader.page.locator("#legend li").all_inner_texts() == list(LABELS)
    assert "6.0 seconds" in str(reader.page.get_attribute("#wave", "aria-label"))
    assert reader.page.evaluate("document.activeElement.id") == "answer-title"
    assert reader.text("#status") == "Done: happy over 6.0 seconds, 3 windows."
    # The first window was alone when it was shown.
    assert reader.page.text_content("#window-table caption") == "Values of window 1 of 3"


def test_an_answer_of_one_window_does_not_count_windows(
    open_page: Callable[..., Reader],
) -> None:
    reader = open_page()
    reader.analyze("short.wav")
    assert reader.text("#coverage") == "Speech was found in 62 % of the sound."
    assert reader.text("#status") == "Done: happy over 3.0 seconds, 1 window."
    assert reader.page.text_content("#window-table caption") == "Values of the window"
    reader.page.focus("#windows")
    assert reader.spoken().startswith("0.0 to 3.0 seconds: happy 0.70")
    assert "1 of 1" not in reader.page.inner_text("body")


def test_who_asks_before_the_model_is_told_gets_every_row(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    server.may_tell.clear()
    reader = open_page()
    reader.choose("good.wav")
    reader.page.click("#analyze")
    reader.page.wait_for_selector("#cancel:visible")
    assert server.received == []
    server.may_tell.set()
    reader.page.wait_for_selector("#answer:visible")
    assert reader.rows() == ["answer", "audio", "video"]
    assert [one["name"] for one in server.received] == ["good.wav"]


def test_shares_are_drawn_to_scale_and_a_missing_stream_is_a_gap(
    open_page: Callable[..., Reader],
) -> None:
    reader = open_page()
    reader.analyze("good.wav")
    path = reader.page.evaluate(
        """() => {
          const picture = document.querySelector("[data-row=answer] svg");
          const {width, height} = picture.getBoundingClientRect();
          const path = picture.querySelector("[data-label=neutral]").getAttribute("d");
          return [...path.matchAll(/M([\\d.]+) ([\\d.]+)V([\\d.]+)H([\\d.]+)/g)].map(
            ([, x, base, top, right]) => [x / width, right / width, (base - top) / height]);
        }"""
    )
    # A column ends half way between the centres of two windows; 0.7, 0.06 and 0.06 of the height.
    assert path[0] == pytest.approx([0, 2.25 / 6, 0.7], abs=0.01)
    assert path[1] == pytest.approx([2.25 / 6, 3.75 / 6, 0.06], abs=0.01)
    assert path[2] == pytest.approx([3.75 / 6, 1, 0.06], abs=0.01)
    gap = reader.page.evaluate(
        """() => {
          const lane = document.querySelector("[data-row=video] svg");
          const box = lane.querySelector(".gap").getBBox();
          return [box.x, box.x + box.width].map(x => x / lane.getBoundingClientRect().width);
        }"""
    )
    assert gap == pytest.approx([3.75 / 6, 1], abs=0.01)
    assert "no face" in reader.text("[data-row=video]")
    pixels = reader.page.evaluate(
        """() => ["wave", "spectrogram"].map(id => {
          const canvas = document.getElementById(id);
          const {width, height} = canvas;
          const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
          const at = (x, y) => {
            const pixel = Math.floor(y * height) * width + Math.floor(x * width);
            return [...data.slice(4 * pixel, 4 * pixel + 4)];
          };
          return [at(0.9, 0.45), at(0.9, 0.75), at(0.9, 0.25)];
        })"""
    )
    assert pixels[0][0][3] == 255, "the wave reaches its middle"
    assert sum(pixels[1][1][:3]) > 600, "loud low tones are bright"
    assert sum(pixels[1][2][:3]) < 60, "silent high tones are dark"


def test_keys_and_pointer_give_the_values_of_a_window(open_page: Callable[..., Reader]) -> None:
    reader = open_page()
    reader.analyze("good.wav")
    page = reader.page
    page.focus("#windows")
    assert reader.spoken().startswith("Window 1 of 3, 0.0 to 3.0 seconds: neutral 0.70")
    page.keyboard.press("ArrowRight")
    assert reader.spoken().startswith("Window 2 of 3, 1.5 to 4.5 seconds: happy 0.70")
    assert "Voice alone: happy 0.70. Face alone: sad 0.70." in reader.spoken()
    assert reader.text("#window-title") == "1.5 to 4.5 s: happy, face in 25 %"
    page.keyboard.press("End")
    assert "Window 3 of 3" in reader.spoken()
    assert "Face" not in reader.spoken()
    assert "no face" in reader.text("#window-table")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#windows", "aria-valuenow") == "3"
    page.keyboard.press("Home")
    box = page.locator("#windows").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + box["height"] / 2)
    assert reader.text("#window-title").startswith("1.5 to 4.5 s: happy")
    assert reader.text("#tip").splitlines()[0] == "happy 0.70"
    page.mouse.move(2, 2)
    assert reader.text("#window-title").startswith("0.0 to 3.0 s"), "back to the chosen one"
    assert not page.is_visible("#tip")


def test_playing_follows_the_time_line(open_page: Callable[..., Reader], tmp_path: Path) -> None:
    sound = tmp_path / "six.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8000 * 6))
    reader = open_page()
    page = reader.page
    page.set_input_files("#file", sound)
    page.click("#analyze")
    page.wait_for_selector("#answer:visible")
    box = page.locator("#windows").bounding_box()
    page.click("#windows", position={"x": 0.5 * box["width"], "y": 20})
    page.wait_for_selector("#playhead:visible")
    assert page.evaluate("document.querySelector('audio').currentTime") == pytest.approx(2.25)
    page.keyboard.press("Enter")
    reader.until("!document.querySelector('audio').paused")
    page.keyboard.press("Space")
    reader.until("document.querySelector('audio').paused")
    left = page.evaluate("parseFloat(document.getElementById('playhead').style.left)")
    assert left >= 100 * 2.25 / 6 - 0.1


def test_saved_files_equal_the_command_line(
    open_page: Callable[..., Reader], tmp_path: Path
) -> None:
    reader = open_page()
    reader.analyze("good.wav")
    expected = prediction("good.wav")
    assert reader.saved("#save-json") == json.dumps(expected.as_json())
    shares = ("face_coverage", "sound_coverage", "speech_share", "known_word_share")
    columns = ["path", "start_s", "end_s", "label", *shares, "streams", *LABELS]
    atomic_io.write_csv(tmp_path / "x.csv", columns, csv_rows(expected))
    assert reader.saved("#save-csv") == (tmp_path / "x.csv").read_text()
    assert "5e-05" in reader.saved("#save-csv")


# === The page over the real server ===


def _video(path: Path) -> Path:
    """Four seconds of a tone and of grey noise, without a face."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        picture = file.add_stream("mpeg4", rate=10, width=96, height=96, pix_fmt="yuv420p")
        sound = file.add_stream("aac", rate=16_000, layout="mono")
        for _ in range(40):
            noise = rng.integers(0, 255, (96, 96, 3)).astype(np.uint8)
            file.mux(picture.encode(av.VideoFrame.from_ndarray(noise, "rgb24")))
        tone = 0.3 * np.sin(np.arange(64_000) * 0.1).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
        frame.sample_rate = 16_000
        file.mux(sound.encode(frame))
        for stream in (picture, sound):
            file.mux(stream.encode(None))
    return path


def _ask(browser: Any, address: str, file: Path) -> tuple[str, dict[str, Any], int]:
    """What the answer line says, the saved JSON, and how many faces are shown."""
    reader = Reader(browser, address)
    try:
        reader.page.wait_for_selector("#facts dt")
        reader.page.set_input_files("#file", file)
        reader.page.click("#analyze")
        reader.page.wait_for_selector("#answer:visible", timeout=SLOW_MS)
        drawn = reader.page.locator("[data-row=answer] path.share").count()
        assert drawn == len(LABELS)
        result = json.loads(reader.saved("#save-json"))
        line, faces = reader.text("#answer-line"), reader.page.locator("#faces img").count()
        reader.analyze("broken.mp4", until="#error")
        assert "broken.mp4" in reader.text("#error")
        assert reader.complaints == []
        return line, result, faces
    finally:
        reader.context.close()


def test_the_real_server_answers_the_page(browser: Any, exported: Path, tmp_path: Path) -> None:
    from affectstream.server.app import Server, ServeSettings

    settings = ServeSettings(model=exported, rest_port=0, grpc_port=0)
    with Server(settings) as server:
        address = f"http://127.0.0.1:{server.rest_port}/"
        line, result, _ = _ask(browser, address, _video(tmp_path / "clip.mp4"))
    assert "over 4." in line
    assert result["path"] == "clip.mp4"
    assert list(result["streams"]) == ["audio"], "noise has no face"


@pytest.mark.real
def test_a_real_clip_on_the_page(
    browser: Any, exported: Path, real_data: Path, real_models: Path
) -> None:
    from affectstream.server.app import Server, ServeSettings

    weights = real_models / "face"
    settings = ServeSettings(model=exported, rest_port=0, grpc_port=0, weights_dir=weights)
    clip = real_data / "clips" / "pyfeat_face_noface.mov"
    with Server(settings) as server:
        _, result, faces = _ask(browser, f"http://127.0.0.1:{server.rest_port}/", clip)
    assert faces >= 1
    assert len(result["windows"]) == 3
    assert set(result["streams"]) == {"audio", "video"}
