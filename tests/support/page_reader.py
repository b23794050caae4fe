"""A reader of the page: Debian's Chromium with a false microphone and camera."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_page import ScriptedServer, listening

FAKE_DEVICES = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
SOON_MS = 60_000
DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


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
        self.page.evaluate(DRAWN)

    def until(self, expression: str) -> None:
        """Waits; the page's policy forbids Playwright's own way, which evaluates text in it."""
        end_s = time.monotonic() + SOON_MS / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < end_s, f"never came true: {expression}"
            self.page.wait_for_timeout(50)

    def rows(self) -> list[str]:
        """What the time line has rows of."""
        found = self.page.eval_on_selector_all("[data-row]", "all => all.map(x => x.dataset.row)")
        return [str(row) for row in found]

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
