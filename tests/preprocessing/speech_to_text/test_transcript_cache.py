"""Transcripts for recordings that have none: transcribers, the cache, and `preprocess`."""

from __future__ import annotations

import csv
import http.server
import json
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from affectstream import cli
from affectstream.core import registry
from affectstream.core.errors import (
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_USAGE,
    UserError,
)
from affectstream.opencv_model.weights import CACHE_VARIABLE
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.records.record_builder import RecordBuilder
from affectstream.preprocessing.records.record_settings import RecordSettings
from affectstream.preprocessing.speech_to_text import google, sphinx, whisper
from affectstream.preprocessing.speech_to_text import transcriber as transcriber
from affectstream.preprocessing.speech_to_text import transcript_cache as module
from affectstream.preprocessing.speech_to_text.transcriber import (
    NoSpeechRecognizedError,
    TranscriberUnavailableError,
    TranscriptionFailedError,
)
from affectstream.preprocessing.speech_to_text.transcript_cache import (
    NO_SPEECH_RECOGNIZED,
    CachedTranscriber,
    Transcript,
)
from benchmarks.accuracy import transcripts as benchmark
from tests.support.factories import files_below, preprocess, tone, write_sound

RATE_HZ = 16_000
HASH = "ab" * 16


def pcm(duration_s: float = 0.5) -> np.ndarray:
    return (tone(duration_s) * 32767).astype(np.int16)


# === A transcriber that does as it is told ===


class Fake:
    """Answers from a list, silence with nothing; counts what it is asked."""

    name = "fake"
    packages: ClassVar[tuple[str, ...]] = ()
    answers: ClassVar[list[str | Exception]] = []
    silence: Exception = NoSpeechRecognizedError()
    made = 0
    asked: ClassVar[list[int]] = []

    def __init__(self, language: str) -> None:
        type(self).made += 1
        self.language = language

    def __call__(self, pcm: np.ndarray, sample_rate_hz: int) -> str:
        if not pcm.any():
            raise self.silence
        self.asked.append(len(pcm))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Fake]:
    """`Fake` in the place of sphinx, and a cache of its own."""
    for name, value in (("answers", ["two words"]), ("made", 0), ("asked", [])):
        monkeypatch.setattr(Fake, name, value)
    entry = registry.Entry("tests.preprocessing.speech_to_text.test_transcript_cache:Fake", "fake")
    monkeypatch.setitem(registry.TABLE["transcribers"], "sphinx", entry)
    # The module that runs may bear another name than the one that the row would import.
    monkeypatch.setitem(
        sys.modules,
        "tests.preprocessing.speech_to_text.test_transcript_cache",
        sys.modules[__name__],
    )
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return Fake


def entries(tmp_path: Path) -> list[str]:
    return list(files_below(tmp_path / "cache")) if (tmp_path / "cache").exists() else []


# === The cache ===


def test_what_is_known_is_not_asked_again(fake: type[Fake], tmp_path: Path) -> None:
    assert CachedTranscriber("sphinx")(pcm(), RATE_HZ, HASH) == Transcript("two words")
    assert entries(tmp_path) == [f"transcripts/sphinx-en-US/ab/{HASH}.json"]
    assert (fake.made, len(fake.asked)) == (1, 1)
    assert CachedTranscriber("sphinx")(pcm(), RATE_HZ, HASH) == Transcript("two words")
    assert (fake.made, len(fake.asked)) == (1, 1)  # not even opened


def test_nothing_understood_is_a_result_that_is_kept(fake: type[Fake]) -> None:
    fake.answers = [NoSpeechRecognizedError(), "  \n"]
    transcriber = CachedTranscriber("sphinx")
    for _ in range(2):
        assert transcriber(pcm(), RATE_HZ, HASH) == Transcript("", NO_SPEECH_RECOGNIZED)
    assert len(fake.asked) == 1
    assert transcriber(pcm(), RATE_HZ, "cd" * 16) == Transcript("", NO_SPEECH_RECOGNIZED)


def test_a_failed_request_is_told_and_not_kept(fake: type[Fake], tmp_path: Path) -> None:
    fake.answers = [TranscriptionFailedError("no answer within 30 s"), "two words"]
    transcriber = CachedTranscriber("sphinx")
    assert transcriber(pcm(), RATE_HZ, HASH) == Transcript("", "no answer within 30 s")
    assert entries(tmp_path) == []
    assert transcriber(pcm(), RATE_HZ, HASH) == Transcript("two words")


def test_ten_failures_running_end_it(fake: type[Fake]) -> None:
    broken = TranscriptionFailedError("refused")
    fake.answers = [*[broken] * 9, "two words", *[broken] * 10]
    transcriber = CachedTranscriber("sphinx")
    for number in range(19):
        transcriber(pcm(), RATE_HZ, f"{number:032d}")
    with pytest.raises(TranscriberUnavailableError, match="failed 10 times running, last: refused"):
        transcriber(pcm(), RATE_HZ, HASH)


@pytest.mark.parametrize(
    "damaged",
    ["", "{", "[]", "\xff", '{"text": 3}', '{"text": "", "failure": ""}'],
)
def test_a_damaged_entry_is_made_again(fake: type[Fake], tmp_path: Path, damaged: str) -> None:
    transcriber = CachedTranscriber("sphinx")
    transcriber(pcm(), RATE_HZ, HASH)
    path = tmp_path / "cache" / entries(tmp_path)[0]
    whole = json.loads(path.read_text())
    value = json.dumps(whole | json.loads(damaged)) if damaged.endswith("}") else damaged
    path.write_text(value, encoding="latin-1")
    assert transcriber(pcm(), RATE_HZ, HASH) == Transcript("two words")
    assert len(fake.asked) == 2
    assert json.loads(path.read_text()) == whole


@pytest.mark.parametrize("changed", ["versions", "language", "transcriber", "sample_rate_hz"])
def test_an_entry_of_another_origin_is_made_again(
    fake: type[Fake], tmp_path: Path, changed: str
) -> None:
    transcriber = CachedTranscriber("sphinx")
    transcriber(pcm(), RATE_HZ, HASH)
    path = tmp_path / "cache" / entries(tmp_path)[0]
    path.write_text(json.dumps(json.loads(path.read_text()) | {changed: "other"}))
    fake.answers = ["three words now"]
    assert transcriber(pcm(), RATE_HZ, HASH).text == "three words now"


def test_an_unwritable_cache_is_one_line(fake: type[Fake], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cache.*; choose another"):
        CachedTranscriber("sphinx").check()


@pytest.mark.parametrize("language", ["", "../en", "en_US", "en-US/x", "English language"])
def test_what_is_no_language_tag(language: str) -> None:
    with pytest.raises(UserError, match=r"not a language tag; give one such as en-US"):
        CachedTranscriber("sphinx", language)


def test_check_names_what_does_not_work(fake: type[Fake], monkeypatch: Any) -> None:
    CachedTranscriber("sphinx").check()
    monkeypatch.setattr(fake, "silence", TranscriptionFailedError("connection refused"))
    with pytest.raises(TranscriberUnavailableError, match=r"sphinx does not work.*refused;"):
        CachedTranscriber("sphinx").check()


# === Sphinx ===


@pytest.fixture(scope="module")
def english() -> sphinx.SphinxTranscriber:
    return sphinx.SphinxTranscriber("en-US")


def real_clip(real_data: Path) -> np.ndarray:
    path = real_data / "ravdess" / "Actor_19" / "03-01-01-01-02-01-19.flac"
    clip = Clip(
        path,
        path.name,
        corpus="ravdess",
        label="neutral",
        speaker="19",
        recording="1",
        attributes={"statement": "02"},
    )
    return benchmark.sound(clip)


@pytest.mark.real
def test_sphinx_on_real_speech(english: sphinx.SphinxTranscriber, real_data: Path) -> None:
    sound = real_clip(real_data)
    text = english(sound, RATE_HZ)
    reference = benchmark.SENTENCES["02"].split()
    assert benchmark.word_errors(reference, text.split()) <= 3
    assert english(sound, RATE_HZ) == text  # what came before changes nothing
    once = english._library.Recognizer().recognize_sphinx(transcriber.audio_data(sound, RATE_HZ))
    assert text == once


@pytest.mark.parametrize("num_samples", [0, 1, 100, 1000, RATE_HZ])
def test_sphinx_on_what_is_no_speech(english: sphinx.SphinxTranscriber, num_samples: int) -> None:
    noise = (np.random.default_rng(0).standard_normal(num_samples) * 1000).astype(np.int16)
    with pytest.raises(NoSpeechRecognizedError):
        english(noise, RATE_HZ)


def test_a_decoder_that_breaks_is_opened_again(
    english: sphinx.SphinxTranscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    english._decoder.start_utt()  # as if a sound had broken off: the next start fails
    with pytest.raises(TranscriptionFailedError, match="sphinx gave up"):
        english(pcm(), RATE_HZ)
    with pytest.raises(NoSpeechRecognizedError):
        english(pcm(0.01), RATE_HZ)


def test_sphinx_without_its_model() -> None:
    with pytest.raises(TranscriberUnavailableError, match=r"no working model of de-DE .* is en-US"):
        sphinx.SphinxTranscriber("de-DE")


def test_sphinx_with_a_damaged_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = transcriber.load_library("speech_recognition", "sphinx")
    part = sys.modules["speech_recognition.recognizers.pocketsphinx"]
    folder = tmp_path / "pocketsphinx-data" / "xx"
    (folder / "acoustic-model").mkdir(parents=True)
    for name in ("language-model.lm.bin", "pronounciation-dictionary.dict"):
        (folder / name).write_text("damaged")
    monkeypatch.setattr(library, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(part, "__file__", str(tmp_path / "recognizers" / "pocketsphinx.py"))
    with pytest.raises(TranscriberUnavailableError, match=r"no working model of xx .* there is xx"):
        sphinx.SphinxTranscriber("xx")


def test_sound_of_another_rate_has_no_aliases() -> None:
    transcriber.load_library("speech_recognition", "sphinx")
    high = (tone(0.5, 48_000, hz=15_000.0) * 32767).astype(np.int16)  # above what 16 kHz can hold
    low = (tone(0.5, 48_000, hz=1_000.0) * 32767).astype(np.int16)
    for wave, least, most in ((high, 0, 100), (low, 15_000, 17_000)):
        data = transcriber.audio_data(wave, 48_000)
        samples = np.frombuffer(data.frame_data, "<i2")[500:-500]
        assert (data.sample_rate, data.sample_width) == (RATE_HZ, 2)
        assert least <= np.abs(samples).max() <= most


# === Google, before a local fake ===

Answer = tuple[int, str, float]
GOOD = '{"result":[]}\n{"result":[{"alternative":[{"transcript":"Kids talking"}],"final":true}]}'


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], list[Any]]]:
    """A local server that gives one answer: status, body, seconds before it; lists requests."""
    told: dict[str, Any] = {}
    requests: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, self.headers["Content-Type"], body))
            status, text, wait_s = told["answer"]
            time.sleep(wait_s)
            if not status:
                return  # hangs up without a word
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode("latin-1"))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setattr(google, "ENDPOINT", f"http://127.0.0.1:{server.server_port}/recognize")
    monkeypatch.setattr(google, "TIMEOUT_S", 5.0)

    def answer(what: Answer) -> list[Any]:
        told["answer"] = what
        return requests

    yield answer
    server.shutdown()
    thread.join()
    server.server_close()


def test_google_understands(service: Callable[[Answer], list[Any]]) -> None:
    requests = service((200, GOOD, 0))
    assert google.GoogleTranscriber("de-DE")(pcm(), RATE_HZ) == "Kids talking"
    ((path, kind, body),) = requests
    assert "lang=de-DE" in path
    assert kind == "audio/x-flac; rate=16000"
    assert body.startswith(b"fLaC")


def test_google_understands_nothing(service: Callable[[Answer], list[Any]]) -> None:
    service((200, '{"result":[]}\n', 0))
    with pytest.raises(NoSpeechRecognizedError):
        google.GoogleTranscriber("en-US")(pcm(), RATE_HZ)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((403, "no key", 0), "google: recognition request failed: Forbidden"),
        ((429, "slowly", 0), "google: recognition request failed: Too Many Requests"),
        ((500, "", 0), "google: recognition request failed: Internal Server Error"),
        ((200, "<html>log in to the network</html>", 0), "google: an answer of another form"),
        ((200, '{"error": 1}', 0), "google: an answer of another form"),
        ((200, "[1, 2]", 0), "google: an answer of another form"),
        ((200, "\xff\xfe", 0), "google: an answer of another form"),
        ((0, "", 0), "google: .*closed connection"),
    ],
)
def test_google_refuses(
    service: Callable[[Answer], list[Any]], answer: Answer, reason: str
) -> None:
    service(answer)
    with pytest.raises(TranscriptionFailedError, match=reason):
        google.GoogleTranscriber("en-US")(pcm(), RATE_HZ)


def test_google_does_not_answer(
    service: Callable[[Answer], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google, "TIMEOUT_S", 0.1)
    service((200, GOOD, 0.5))
    with pytest.raises(TranscriptionFailedError, match=r"no answer within 0\.1 s"):
        google.GoogleTranscriber("en-US")(pcm(), RATE_HZ)


def test_google_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(google, "ENDPOINT", f"http://127.0.0.1:{port}/recognize")
    with pytest.raises(TranscriberUnavailableError, match=r"google does not work here: .*refused"):
        CachedTranscriber("google", cache_dir=tmp_path).check()


def test_sound_goes_to_google_encrypted() -> None:
    assert google.ENDPOINT.startswith("https://www.google.com/")


# === Whisper ===


def test_whisper_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "openai-whisper":
            raise module.importlib.metadata.PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(module.importlib.metadata, "version", version)
    with pytest.raises(
        TranscriberUnavailableError, match=r"needs the package openai-whisper.*; pip"
    ):
        CachedTranscriber("whisper", cache_dir=tmp_path)


@pytest.fixture
def fake_whisper(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The package's names as SpeechRecognition uses them, with a model that tells its input."""

    def transcribe(samples: np.ndarray, **options: Any) -> dict[str, str]:
        return {"text": f" {len(samples)} {samples.dtype} {sorted(options.items())}"}

    fake: Any = types.ModuleType("whisper")
    tokenizer: Any = types.ModuleType("whisper.tokenizer")
    torch: Any = types.ModuleType("torch")
    fake.load_model = lambda name: types.SimpleNamespace(transcribe=transcribe)
    tokenizer.LANGUAGES = {"en": "english", "de": "german"}
    torch.cuda = types.SimpleNamespace(is_available=lambda: False)
    for name, made in (("whisper", fake), ("whisper.tokenizer", tokenizer), ("torch", torch)):
        monkeypatch.setitem(sys.modules, name, made)
    return fake


def test_what_whisper_is_given(fake_whisper: types.ModuleType) -> None:
    text = whisper.WhisperTranscriber("de-AT")(pcm(), RATE_HZ)
    options = "[('fp16', False), ('language', 'de'), ('temperature', 0.0)]"
    assert text == f"8000 float32 {options}"


def test_whisper_without_language_or_model(fake_whisper: Any) -> None:
    with pytest.raises(TranscriberUnavailableError, match="no language tlh; it knows de, en"):
        whisper.WhisperTranscriber("tlh")
    fake_whisper.load_model = lambda name: (_ for _ in ()).throw(OSError("network is unreachable"))
    with pytest.raises(TranscriberUnavailableError, match=r"model base cannot be .*unreachable"):
        whisper.WhisperTranscriber("en-US")


# === Records ===


def manifest(folder: Path, rows: str, *peaks: float) -> Path:
    """A manifest over sounds a.wav, b.wav, ... with the peaks given."""
    for number, peak in enumerate(peaks):
        wave = tone(0.6, hz=440.0 + 100 * number, peak=peak)
        write_sound(folder / f"{'abcd'[number]}.wav", wave, RATE_HZ)
    (folder / "manifest.csv").write_text("path,label,speaker,transcript\n" + rows)
    return folder


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return manifest(tmp_path / "two", "a.wav,sad,1,\nb.wav,happy,2,\n", 0.5, 0.5)


WORDS = ("--detector", "none", "--transcriber", "sphinx")


def failed(data: Path) -> list[list[str]]:
    with open(data / "transcripts_failed.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_settings_tell_it_only_when_asked() -> None:
    plain = RecordSettings("none")
    assert not {"transcriber", "language"} & set(plain.as_json())
    assert RecordSettings.from_json(plain.as_json()) == plain
    asked = RecordSettings("none", transcriber="sphinx", language="de-DE")
    assert RecordSettings.from_json(json.loads(json.dumps(asked.as_json()))) == asked


def test_preprocess_transcribes(
    fake: type[Fake], two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers = ["so it is", TranscriptionFailedError("no answer within 30 s")]
    out = tmp_path / "records"
    assert preprocess("manifest", two, out, *WORDS) == EXIT_OK
    first, second = open_data_folder(out).rows
    assert (first.transcript, first.attributes["transcribed_by"]) == ("so it is", "sphinx")
    assert first.streams == ("audio", "text")
    assert (second.transcript, second.streams) == ("", ("audio",))
    assert second.attributes["transcript_failure"] == "no answer within 30 s"
    assert "transcribed_by" not in second.attributes
    assert failed(out) == [["path", "reason"], ["b.wav", "no answer within 30 s"]]
    assert (out / "rejected.csv").read_text() == "path,reason\n"
    said = capsys.readouterr()
    assert "transcribed by sphinx: 1, without success: 1" in said.out
    assert "no transcript of b.wav: no answer within 30 s" in said.err
    assert f"all in {out / 'transcripts_failed.csv'}" in said.err


def test_again_it_asks_nobody(fake: type[Fake], two: Path, tmp_path: Path) -> None:
    out = tmp_path / "records"
    assert preprocess("manifest", two, out, *WORDS) == EXIT_OK
    before = files_below(out)
    made = fake.made
    assert preprocess("manifest", two, out, *WORDS) == EXIT_OK
    assert fake.made == made  # nothing is missing: not even opened
    assert files_below(out) == before
    assert preprocess("manifest", two, out, *WORDS, "--overwrite") == EXIT_OK
    assert len(fake.asked) == 2  # once a sound, in the first run
    assert [row.transcript for row in open_data_folder(out).rows] == ["two words"] * 2
    assert preprocess("manifest", two, out, "--detector", "none", "--overwrite") == EXIT_OK
    assert not (out / "transcripts_failed.csv").exists()


def test_only_sound_without_a_transcript(
    fake: type[Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = 'a.wav,sad,1,"Mine, not yours"\nb.wav,happy,2,\nc.wav,happy,3,"  "\n'
    source = manifest(tmp_path / "source", rows, 0.5, 0.0, 0.5)
    out = tmp_path / "records"
    # The silent one is rejected, as without it.
    assert preprocess("manifest", source, out, *WORDS) == EXIT_PARTIAL
    assert "sphinx: 1, without success: 0, with a transcript before: 1" in capsys.readouterr().out
    first, last = open_data_folder(out).rows
    assert (first.transcript, "transcribed_by" in first.attributes) == ("Mine, not yours", False)
    assert last.transcript == "two words"
    assert len(fake.asked) == 1


def test_equal_sounds_are_asked_about_once(fake: type[Fake], tmp_path: Path) -> None:
    source = manifest(tmp_path / "source", "a.wav,sad,1,\nb.wav,sad,1,\n", 0.5, 0.5)
    (source / "b.wav").write_bytes((source / "a.wav").read_bytes())
    assert preprocess("manifest", source, tmp_path / "records", *WORDS) == EXIT_OK
    assert len(fake.asked) == 1


def test_a_piece_of_a_long_clip_is_named(fake: type[Fake], two: Path, tmp_path: Path) -> None:
    write_sound(two / "a.wav", tone(1.1, hz=300.0), RATE_HZ)
    write_sound(two / "b.wav", tone(0.3, hz=400.0), RATE_HZ)
    fake.answers = ["one", NoSpeechRecognizedError(), NoSpeechRecognizedError(), "four"]
    out = tmp_path / "records"
    assert preprocess("manifest", two, out, *WORDS, "--max-clip-s", "0.5") == EXIT_OK
    assert failed(out)[1:] == [[f"a.wav#{n:05d}", NO_SPEECH_RECOGNIZED] for n in (1, 2)]


def test_a_recogniser_that_does_not_work_stops_before_the_first_clip(
    fake: type[Fake],
    two: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fake, "silence", TranscriptionFailedError("connection refused"))
    monkeypatch.setattr(RecordBuilder, "records", lambda self, clip: pytest.fail("decoded"))
    out = tmp_path / "records"
    assert preprocess("manifest", two, out, *WORDS) == EXIT_FAILURE
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if line.startswith("Error: ")] == [
        "Error: transcriber sphinx does not work here: connection refused; check the network, or"
        " leave --transcriber out"
    ]
    assert "Traceback" not in said
    assert not list((out / "shards").iterdir())


def test_sphinx_in_worker_processes(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    out = tmp_path / "records"
    words = ("--corpus", "manifest", "--source", str(two), "--out", str(out), "--workers", "2")
    assert cli.main(["preprocess", *words, *WORDS]) == EXIT_OK
    rows = open_data_folder(out).rows
    assert len(entries(tmp_path)) == 2
    for row in rows:
        told = bool(row.transcript), row.attributes.get("transcript_failure", "")
        assert told in ((True, ""), (False, NO_SPEECH_RECOGNIZED))


def test_options_of_transcribing_that_cannot_be_are_refused(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--detector", "none")
    out = tmp_path / "records"
    german = ("--language", "de-DE", "--workers", "2")
    assert preprocess("manifest", two, out, *words, "--language", "en-GB") == EXIT_USAGE
    assert "--language is for --transcriber" in capsys.readouterr().err
    assert preprocess("manifest", two, out, *words, "--transcriber", "nobody") == EXIT_USAGE
    assert "sphinx" in capsys.readouterr().err
    assert preprocess("manifest", two, out, *WORDS, *german) == EXIT_FAILURE
    assert "no working model of de-DE" in capsys.readouterr().err


# === The benchmark ===


@pytest.mark.parametrize(
    ("heard", "errors"),
    [
        ("dogs are sitting by the door", 0),
        ("the dogs are sitting by door", 2),
        ("dogs is sitting by the door", 1),
        ("", 6),
        ("a b c d e f g", 7),
    ],
)
def test_benchmark_counts_word_errors(heard: str, errors: int) -> None:
    reference = benchmark.SENTENCES["02"].split()
    assert benchmark.word_errors(reference, heard.split()) == errors
    assert benchmark.word_errors(heard.split(), reference) == errors


def test_the_clips_of_the_benchmark_are_spread() -> None:
    found = [
        Clip(
            Path(f"{a}{e}{n}"), f"{a}{e}{n}", corpus="x", label=str(e), speaker=str(a), recording=""
        )
        for a in range(20)
        for e in range(8)
        for n in range(4)
    ]
    chosen = benchmark.spread(found, 50)
    assert len({clip.key for clip in chosen}) == 50
    for of in ("speaker", "label"):
        counts = [sum(getattr(c, of) == x for c in chosen) for x in {getattr(c, of) for c in found}]
        assert max(counts) - min(counts) <= 1
    assert chosen == benchmark.spread(found[::-1], 50)


def test_transcripts_benchmark_writes_its_table(
    fake: type[Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers = ["Dogs are sitting by the door"]
    out = tmp_path / "table.md"
    assert benchmark.main(["--quick", "--work", str(tmp_path), "--out", str(out)]) == 0
    text = out.read_text("utf-8")
    assert capsys.readouterr().out.strip() == text.strip()
    assert text.startswith("## Transcripts\n")
    assert "| all | 2 |" in text
    assert "SYNTHETIC" in text
