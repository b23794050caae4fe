"""What the page is asked, refuses and sends: files, words, tokens, recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from affectstream.commands.jobs.prediction_outputs import csv_rows
from affectstream.core import atomic_io
from tests.support import page_reader
from tests.support.page_reader import Reader
from tests.support.scripted_page import LABELS, TOKEN, ScriptedServer, of_words

browser, scripted = page_reader.browser, page_reader.scripted
server, open_page = page_reader.server, page_reader.open_page


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
    assert reader.page.text_content("#status") == "", "it sends no longer"
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
    assert reader.text("#status") == "50 % analysed"
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
    assert reader.page.text_content("#status") == ""
    assert reader.page.evaluate("document.activeElement.id") == "token"
    reader.page.fill("#token", TOKEN)
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_selector("#answer:visible")


def test_words_are_sent_where_the_model_knows_them(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    reader = open_page()
    reader.page.wait_for_selector("#facts dt")
    assert not reader.page.is_visible("#text")
    server.about["streams"] = ["audio", "video", "text"]
    reader.page.reload()
    reader.page.wait_for_selector("#text:visible")
    reader.page.fill("#text", "what a day")
    reader.analyze("good.wav")
    (sent,) = server.received
    assert sent["type"].startswith("multipart/form-data")
    assert b'name="text"\r\n\r\nwhat a day' in sent["body"]
    assert b'name="file"; filename="good.wav"' in sent["body"]
    assert "no words" in reader.text("[data-row=text]")


@pytest.mark.parametrize("streams", [["text"], ["audio", "text"]])
def test_words_alone_are_answered(
    open_page: Callable[..., Reader], server: ScriptedServer, streams: list[str], tmp_path: Path
) -> None:
    server.about["streams"] = streams
    reader = open_page()
    page = reader.page
    page.wait_for_selector("#text:visible")
    assert not page.is_visible("#analyze")
    page.fill("#text", "   ")
    assert not page.is_visible("#analyze")
    page.fill("#text", "what a day")
    page.click("#analyze")
    page.wait_for_selector("#answer:visible")
    (sent,) = server.received
    assert sent["type"].startswith("multipart/form-data")
    assert b'name="text"\r\n\r\nwhat a day' in sent["body"]
    assert b'name="file"' not in sent["body"]
    assert reader.text("#answer-line") == "happy from text"
    assert reader.text("#status") == "Done: happy."
    assert not page.is_visible("#result"), "there is no time to draw"
    expected = of_words()
    assert reader.saved("#save-json") == json.dumps(expected.as_json())
    shares = ("face_coverage", "sound_coverage", "speech_share", "known_word_share")
    columns = ["path", "start_s", "end_s", "label", *shares, "streams", *LABELS]
    atomic_io.write_csv(tmp_path / "x.csv", columns, csv_rows(expected))
    saved = reader.saved("#save-csv")
    assert saved == (tmp_path / "x.csv").read_text()
    assert saved.splitlines()[1].startswith("text,0.0,0.0,happy,,,,0.75,text,")
    assert reader.text("#coverage") == "The model knows 75 % of the words."
    page.fill("#text", "")
    assert not page.is_visible("#analyze")


def test_a_model_of_words_only_asks_for_words(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    server.about["streams"] = ["text"]
    reader = open_page()
    reader.page.wait_for_selector("#text:visible")
    assert reader.text("#source-title") == "Text"
    assert not reader.page.is_visible("#drop")
    reader.choose("good.wav")
    assert not reader.page.is_visible("#chosen")
    assert not reader.page.is_visible("#analyze")


def test_a_model_of_numbers_of_tokens_asks_for_nothing(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    server.about |= {"streams": ["audio", "text"], "text_input": "token_ids"}
    reader = open_page()
    reader.page.wait_for_selector("#takes-nothing:visible")
    assert reader.text("#takes-nothing") == (
        "This model takes numbers of tokens, no recordings; export it without --text-input."
    )
    for selector in ("#drop", "#text", "#analyze"):
        assert not reader.page.is_visible(selector)
    reader.choose("good.wav")
    assert not reader.page.is_visible("#analyze")


def test_the_card_is_shown_as_text_only(
    open_page: Callable[..., Reader], server: ScriptedServer
) -> None:
    server.about |= {"synthetic": True, "leak_allowed": True}
    reader = open_page()
    reader.page.wait_for_selector("#facts dt")  # what comes in late moves what is clicked
    reader.page.click("summary:has-text('Model card')")
    reader.page.wait_for_selector("#card h3:visible")
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
