"""How much of a sound is speech, and what counts as sound at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from affectstream.preprocessing.media.audio.speech_activity import (
    MIN_SPEECH_SHARE,
    SPEECH_THRESHOLD,
    StreamingVad,
    speech_probabilities,
    speech_share,
)
from affectstream.preprocessing.pcm import MIN_AUDIO_S, is_silent, is_usable_audio
from benchmarks.accuracy import speech_activity as benchmark
from tests import ROOT
from tests.support.factories import sample_source, tone
from tests.support.tables import printed_rows

RATE_HZ = 16_000
# A folder of real recordings, beside the project where EMOTION_DATA does not name one.
DATA = Path(os.environ.get("EMOTION_DATA") or ROOT.parent / "shared" / "data")
has_data = pytest.mark.skipif(not (DATA / "ravdess").is_dir(), reason="no RAVDESS in EMOTION_DATA")


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """(samples,) float32 at 16 kHz: a voice of the sample corpus, 2 s."""
    return benchmark.sound(sorted(sample_source().rglob("*.mp4"))[0])


# === What is sound ===


@pytest.mark.parametrize(
    ("waveform", "silent"),
    [
        (None, True),
        (np.zeros(0, np.float32), True),
        (np.zeros(1600, np.float32), True),
        (np.full(1600, 0.5, np.float32), True),
        (np.full(1600, -1.0, np.float32), True),
        (0.5 + tone(0.1, peak=9e-5), True),
        (0.5 + tone(0.1, peak=2e-4), False),
        (tone(0.1), False),
    ],
)
def test_silence_is_judged_around_the_mean(waveform: np.ndarray | None, silent: bool) -> None:
    assert is_silent(waveform) is silent
    assert is_usable_audio(waveform, RATE_HZ) is not silent


def test_what_is_too_short_is_no_sound() -> None:
    least = round(MIN_AUDIO_S * RATE_HZ)
    assert is_usable_audio(tone(1.0)[:least], RATE_HZ)
    assert not is_usable_audio(tone(1.0)[: least - 1], RATE_HZ)
    assert not is_usable_audio(np.ones(1, np.float32), RATE_HZ)


# === Speech ===


def test_a_voice_is_speech_at_any_level_and_rate(voice: np.ndarray) -> None:
    loud = speech_share(voice, RATE_HZ)
    assert loud is not None
    assert loud > 0.4
    quiet = speech_share(voice / 300 + np.float32(0.25), RATE_HZ)
    assert quiet == pytest.approx(loud, abs=0.05)
    # As good as the same samples at half the rate.
    half = voice[: len(voice) // 2 * 2].reshape(-1, 2).mean(axis=1)
    assert speech_share(half, RATE_HZ // 2) == pytest.approx(loud, abs=0.1)


@pytest.mark.parametrize(
    ("name", "waveform"),
    [pytest.param(name, wave, id=name) for name, wave in benchmark.no_speech()],
)
def test_noise_hum_music_and_animals_are_none(name: str, waveform: np.ndarray) -> None:
    for gain in (1.0, 0.01):
        share = speech_share(np.float32(gain) * waveform, RATE_HZ)
        assert share is not None
        assert share < MIN_SPEECH_SHARE


def test_how_it_comes_does_not_matter_much(voice: np.ndarray) -> None:
    sound = np.concatenate([np.zeros(RATE_HZ, np.float32), voice, np.zeros(RATE_HZ, np.float32)])
    whole = speech_probabilities(sound, RATE_HZ)
    assert len(whole) == len(sound) // 512
    for length in (700, 8000):
        meter = StreamingVad(RATE_HZ)
        for start in range(0, len(sound), length):
            meter.feed(sound[start : start + length])
        assert len(meter.probabilities) == len(whole)
        assert meter.share() == pytest.approx(float(np.mean(whole >= SPEECH_THRESHOLD)), abs=0.05)
        assert meter.share(0.0, 0.9) == 0.0
        middle = meter.share(1.0, 3.0)
        assert middle is not None
        assert middle > 0.4


def test_a_loud_sound_does_not_hide_a_quiet_voice_for_long(voice: np.ndarray) -> None:
    """The level falls again: 30 dB more than the voice is forgotten after some time."""
    bang = np.concatenate([tone(1.0, hz=200.0, peak=0.9), np.zeros(60 * RATE_HZ, np.float32)])
    quiet = voice * np.float32(0.03 / np.abs(voice).max())
    meter = StreamingVad(RATE_HZ)
    for block in (bang, quiet):
        meter.feed(block)
    share = meter.share(61.0)
    assert share is not None
    assert share > 0.4


def test_nothing_was_fed() -> None:
    meter = StreamingVad(44_100)
    assert meter.share() is None
    meter.feed(np.zeros(0, np.float32))
    assert meter.share() is None
    assert speech_share(tone(0.03), RATE_HZ) is None
    assert speech_share(np.zeros(RATE_HZ, np.float32), RATE_HZ) == 0.0


# === Real recordings ===


@pytest.mark.real
@has_data
def test_quiet_actors_speak() -> None:
    """Twenty clips over all emotions, also 40 dB quieter."""
    paths = sorted((DATA / "ravdess" / "Actor_05").glob("*-01-0?-01-05.flac"))
    assert len(paths) >= 12
    for path in paths:
        waveform, rate_hz = soundfile.read(path, dtype="float32")
        for gain in (1.0, 0.01):
            share = speech_share(np.float32(gain) * waveform, rate_hz)
            assert share is not None
            assert share > MIN_SPEECH_SHARE


# === The benchmark ===


def test_benchmark_reckons_the_area_under_the_curve() -> None:
    truth = np.array([False, False, True, True])
    assert benchmark.auc(truth, np.array([0.1, 0.2, 0.3, 0.4])) == 1.0
    assert benchmark.auc(truth, np.array([0.1, 0.3, 0.3, 0.4])) == 0.875


def test_benchmark_reads_spoken_times_of_rttm(tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text(
        "SPEAKER m 1 0.032 0.064 <NA> <NA> X <NA> <NA>\nSPEAKER m 1 0.160 0.032 <NA> <NA> Y <NA>\n"
    )
    turns = benchmark.spoken_times(tmp_path)["m"]
    assert benchmark.is_spoken(turns, 7).tolist() == [False, True, True, False, False, True, False]


def test_benchmark_writes_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.md"
    assert benchmark.main(["--quick", "--work", str(tmp_path / "work"), "--out", str(out)]) == 0
    rows = {row[0]: row[1:] for row in printed_rows(capsys, out)}
    voices = rows["the SYNTHETIC voices"]
    assert voices[0] == "2"
    share, _, little = voices[2].partition(", ")
    assert float(share) > 0.4
    assert little == "0"
