"""The page in Debian's Chromium: over a script, and over the real server."""

from __future__ import annotations

import json
import os
import shutil
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import storage
from commands.predict import _csv_rows
from server import page_api
from server.limits import Limits
from serving.model_card import LAW, LIMITS, model_card
from tests.scripted_page import LABELS, TOKEN, ScriptedServer, about, listening, prediction

FAKE_DEVICES = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
SOON_MS = 10_000
SLOW_MS = 120_000

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
        "recipe": {"name": "s2-audio", "source": "made up", "encoder": "", "pretrained": ""},
        "calibration": {"temperature": 1.0},
        "parts": {},
        "data": [],
        "notes": [],
        "scores": {},
        "seed": 0,
        "git_revision": "",
        "synthetic": True,
        "leak_allowed": False,
    }
    from modeling.recipes import Recipe

    config["recipe"] = Recipe("s2-audio", "audio", "made up").as_json() | config["recipe"]
    told = page_api.about_of(config, "voice", 2, Limits(max_upload_bytes=5), True)
    assert told["card_markdown"] == model_card(config, None, "voice", 2)
    assert (told["law"], told["meaning"]) == (LAW, list(LIMITS))
    assert (told["name"], told["version"], told["recipe"]) == ("voice", 2, "s2-audio")
    assert (told["synthetic"], told["leak_allowed"], told["needs_token"]) == (True, False, True)
    assert told["limits"] == {"max_upload_bytes": 5, "max_media_s": 600.0}
    scored = page_api.about_of(config, "voice", 2, Limits(), False, {"leak_allowed": True})
    assert scored["leak_allowed"] is True


# === The page over a script ===


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on PATH; type: sh scripts/chromium.sh")
    with playwright.sync_playwright() as driver:
        sandbox = () if os.geteuid() else ("--no-sandbox",)
        opened = driver.chromium.launch(executable_path=chromium, args=[*sandbox, *FAKE_DEVICES])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedServer]:
    with listening(ScriptedServer()) as server:
        yield server


@pytest.fixture
def server(scripted: ScriptedServer) -> ScriptedServer:
    scripted.reset()
    return scripted


class Reader:
    """One tab, and all that its console complained of."""

    def __init__(self, browser: Any, address: str, **how: Any) -> None:
        self.context = browser.new_context(**how)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SOON_MS)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.goto(address)

    def _hear(self, message: Any) -> None:
        # A refusal of the server is not a fault of the page.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def choose(self, name: str, content: bytes = b"sound") -> None:
        file = {"name": name, "mimeType": "audio/wav", "buffer": content}
        self.page.set_input_files("#file", files=[file])

    def analyze(self, name: str, until: str = "#answer") -> None:
        self.choose(name)
        self.page.click("#analyze")
        self.page.wait_for_selector(f"{until}:visible")

    def until(self, expression: str) -> None:
        """Waits; the page's policy forbids Playwright's own way, which evaluates text in it."""
        end_s = time.monotonic() + SOON_MS / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < end_s, f"never came true: {expression}"
            self.page.wait_for_timeout(50)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def spoken(self) -> str:
        return str(self.page.get_attribute("#windows", "aria-valuetext"))

    def saved(self, button: str) -> str:
        with self.page.expect_download() as download:
            self.page.click(button)
        return Path(download.value.path()).read_bytes().decode()


@pytest.fixture
def open_page(browser: Any, server: ScriptedServer) -> Iterator[Callable[..., Reader]]:
    readers: list[Reader] = []

    def opened(**how: Any) -> Reader:
        readers.append(Reader(browser, server.address, **how))
        return readers[-1]

    yield opened
    for reader in readers:
        reader.context.close()
    assert [c for reader in readers for c in reader.complaints] == []


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
    assert "40 %" in reader.text("#coverage")
    assert reader.text("#warning-list") == "a face in only 40% of the frames looked at"
    rows = reader.page.eval_on_selector_all("[data-row]", "all => all.map(x => x.dataset.row)")
    assert rows == ["answer", "audio", "video"]
    assert reader.page.locator("#faces img").count() == 2
    assert reader.page.locator("#legend li").all_inner_texts() == list(LABELS)
    assert "6.0 seconds" in str(reader.page.get_attribute("#wave", "aria-label"))
    assert reader.page.evaluate("document.activeElement.id") == "answer-title"
    assert "Done: happy" in reader.text("#status")


def test_shares_are_drawn_to_scale_and_a_missing_stream_is_a_gap(
    open_page: Callable[..., Reader],
) -> None:
    reader = open_page()
    reader.analyze("good.wav")
    reader.page.wait_for_timeout(100)
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
    columns = ["path", "start_s", "end_s", "label", "face_coverage", "streams", *LABELS]
    storage.write_csv(tmp_path / "x.csv", columns, _csv_rows(expected))
    assert reader.saved("#save-csv") == (tmp_path / "x.csv").read_text()
    assert "5e-05" in reader.saved("#save-csv")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bad.wav", "bad.wav: <b>not a media file</b>"),
        ("busy.wav", "busy.wav: refused. Try again in 3 seconds."),
        ("big.wav", "big.wav: refused."),
        ("torn.wav", "The server ended its answer before it was complete."),
    ],
)
def test_a_refusal_is_one_sentence(
    open_page: Callable[..., Reader], name: str, sentence: str
) -> None:
    reader = open_page()
    reader.analyze(name, until="#error")
    assert reader.text("#error") == sentence
    assert reader.page.get_attribute("#error", "role") == "alert"
    assert not reader.page.is_visible("#answer")
    reader.analyze("good.wav")
    assert not reader.page.is_visible("#error")


def test_a_file_over_the_limit_is_not_sent(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    reader = open_page()
    reader.page.wait_for_selector("#facts dt")
    reader.choose("large.wav", bytes(1_000_001))
    assert "accepts up to 1.0 MiB" in reader.text("#error")
    assert not reader.page.is_visible("#analyze")
    assert server.received == []


def test_a_dropped_file_is_taken_and_two_are_not(open_page: Callable[..., Reader]) -> None:
    reader = open_page()
    drop = """(names) => {
      const dataTransfer = new DataTransfer();
      for (const name of names) dataTransfer.items.add(new File(["x"], name));
      const target = document.getElementById("drop");
      for (const kind of ["dragover", "drop"]) {
        target.dispatchEvent(new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true}));
      }
    }"""
    reader.page.evaluate(drop, ["one.wav", "two.wav"])
    assert reader.text("#error") == "Drop one file at a time."
    assert not reader.page.is_visible("#chosen")
    reader.page.evaluate(drop, ["one.wav"])
    assert reader.text("#chosen-name") == "one.wav, 1 B"
    assert not reader.page.is_visible("#error")


def test_a_server_that_is_gone(open_page: Callable[..., Reader]) -> None:
    reader = open_page()
    reader.page.wait_for_selector("#facts dt")
    reader.page.route("**/v1/analyze*", lambda route: route.abort())
    reader.analyze("good.wav", until="#error")
    assert reader.text("#error").startswith("The server does not answer.")


def test_cancelling_ends_the_request(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    reader = open_page()
    reader.analyze("slow.wav", until="#faces img")
    assert reader.page.evaluate("document.activeElement.id") == "cancel"
    assert reader.page.get_attribute("#bar", "value") == "0.5"
    assert reader.page.is_disabled("#choose")
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_selector("#cancel", state="hidden")
    assert reader.text("#status") == "Cancelled."
    assert server.left.wait(10)
    reader.analyze("good.wav")


def test_a_token_is_asked_for_and_kept_in_memory(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    server.needs_token = True
    reader = open_page()
    page = reader.page
    page.wait_for_selector("#token-form:visible")
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    reader.until("document.getElementById('error').textContent.includes('not accept')")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("#facts dt")
    assert not page.is_visible("#token-form")
    reader.analyze("good.wav")
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert TOKEN not in page.content()


def test_an_analysis_goes_on_once_the_token_is_there(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    server.needs_token = server.about["needs_token"] = True
    reader = open_page()
    reader.page.wait_for_selector("#token-form:visible")
    assert not reader.page.is_visible("#error")
    reader.analyze("good.wav", until="#error")
    assert reader.text("#error") == "This server asks for an access token."
    assert reader.page.evaluate("document.activeElement.id") == "token"
    reader.page.fill("#token", TOKEN)
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_selector("#answer:visible")


def test_words_are_sent_where_the_model_knows_them(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    reader = open_page()
    reader.page.wait_for_selector("#facts dt")
    assert not reader.page.is_visible("#words")
    server.about["streams"] = ["audio", "video", "text"]
    reader.page.reload()
    reader.page.wait_for_selector("#words:visible")
    reader.page.fill("#words", "what a day")
    reader.analyze("good.wav")
    (sent,) = server.received
    assert sent["type"].startswith("multipart/form-data")
    assert b'name="text"\r\n\r\nwhat a day' in sent["body"]
    assert b'name="file"; filename="good.wav"' in sent["body"]
    assert "no words" in reader.text("[data-row=text]")


def test_the_card_is_shown_as_text_only(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    server.about |= {"synthetic": True, "leak_allowed": True}
    reader = open_page()
    reader.page.click("summary:has-text('Model card')")
    assert reader.text("#card h3") == "toy 3"
    assert "<img src=x onerror=alert(1)>" in reader.text("#card ul")
    assert reader.page.locator("#card img, #card b").count() == 0
    assert reader.page.locator("#card td").all_inner_texts() == ["toy", "<b>none</b>"]
    assert reader.text("#card strong") == "SYNTHETIC: made up."
    stamps = reader.page.locator("#stamps p").all_inner_texts()
    assert [stamp.split(":")[0] for stamp in stamps] == ["SYNTHETIC", "LEAK ALLOWED"]
    assert "Most corpora are acted." in reader.text("#meaning")
    assert reader.text("#law") == "A law."


@pytest.mark.parametrize(("button", "kind"), [("sound", "audio"), ("picture", "video")])
def test_a_recording_is_made_and_sent(
    open_page: Callable[..., Reader], server: ScriptedServer, button: str, kind: str
) -> None:
    reader = open_page()
    page = reader.page
    page.click(f"#record-{button}")
    page.wait_for_selector("#recording:visible")
    assert page.is_visible("#live") == (kind == "video")
    reader.until("document.getElementById('elapsed').textContent === '0:01'")
    reader.until("document.getElementById('level').value > 0")
    page.click("#stop")
    page.wait_for_selector("#chosen:visible")
    assert page.locator(f"#player {kind}").count() == 1
    page.click("#analyze")
    page.wait_for_selector("#answer:visible")
    (sent,) = server.received
    assert sent["name"].startswith("recording.")
    assert len(sent["body"]) > 1000


def test_a_refused_microphone_is_said(open_page: Callable[..., Reader]) -> None:
    reader = open_page()
    reader.page.evaluate(
        """() => {
          const refused = new DOMException("no", "NotAllowedError");
          navigator.mediaDevices.getUserMedia = () => Promise.reject(refused);
        }"""
    )
    reader.page.click("#record-sound")
    reader.page.wait_for_selector("#error:visible")
    assert "not allowed to use the microphone" in reader.text("#error")
    assert not reader.page.is_disabled("#choose")


# === Access ===

CONTRAST = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color.length === 3) return color;
    }
    return [255, 255, 255];
  };
  const told = [];
  for (const element of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.disabled) continue;
    const pair = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    told.push([ratio, element.id || element.textContent.trim().slice(0, 30)]);
  }
  return told;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(
    open_page: Callable[..., Reader], scheme: str, server: ScriptedServer
) -> None:
    server.about["synthetic"] = True
    reader = open_page(color_scheme=scheme)
    reader.analyze("good.wav")
    reader.page.click("summary:has-text('Model card')")
    reader.page.evaluate("document.getElementById('error').hidden = false")
    reader.page.evaluate("document.getElementById('error').textContent = 'An error.'")
    ratios = reader.page.evaluate(CONTRAST)
    assert len(ratios) > 40
    assert [pair for pair in ratios if pair[0] < 4.5] == [], "WCAG 2.2, 1.4.3"


def test_colours_follow_the_system_and_the_button(open_page: Callable[..., Reader]) -> None:
    reader = open_page(color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    dark = reader.page.evaluate(back)
    assert reader.page.get_attribute("#theme", "aria-pressed") == "true"
    reader.page.click("#theme")
    assert reader.page.evaluate(back) != dark
    assert reader.page.get_attribute("#theme", "aria-pressed") == "false"


NAMED = ("button", "slider", "textbox", "link", "image", "progressbar", "meter")


def test_every_control_has_a_name_and_a_place_in_the_order(
    open_page: Callable[..., Reader],
) -> None:
    reader = open_page()
    reader.analyze("good.wav")
    session = reader.context.new_cdp_session(reader.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    assert [pair for pair in told if pair[0] in NAMED and not pair[1]] == []
    roles = {role for role, _ in told}
    assert {"banner", "main", "contentinfo", "region", "slider", "status", "table"} <= roles
    reader.page.focus(".skip")
    order = []
    for _ in range(20):
        reader.page.keyboard.press("Tab")
        order.append(reader.page.evaluate("document.activeElement.id"))
    wanted = ["theme", "choose", "record-sound", "record-picture"]
    wanted += ["analyze", "save-json", "windows"]
    assert [name for name in dict.fromkeys(order) if name in wanted] == wanted


def test_a_phone_needs_no_scrolling_sideways(open_page: Callable[..., Reader]) -> None:
    reader = open_page(viewport={"width": 360, "height": 740})
    reader.analyze("good.wav")
    widths = "[document.documentElement.scrollWidth, innerWidth]"
    assert reader.page.evaluate(widths) == [360, 360]
    assert reader.page.locator("#window-table tbody tr").count() == len(LABELS)


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
    from server.app import Server, ServeSettings

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
    from server.app import Server, ServeSettings

    weights = real_models / "face"
    settings = ServeSettings(model=exported, rest_port=0, grpc_port=0, weights_dir=weights)
    clip = real_data / "clips" / "pyfeat_face_noface.mov"
    with Server(settings) as server:
        _, result, faces = _ask(browser, f"http://127.0.0.1:{server.rest_port}/", clip)
    assert faces >= 1
    assert len(result["windows"]) == 4
    assert set(result["streams"]) == {"audio", "video"}
