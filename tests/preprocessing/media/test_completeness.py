"""Damage is told with figures: what a recording promises against what could be decoded."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from affectstream.core.errors import EXIT_OK, EXIT_PARTIAL
from affectstream.parallel.tasks import TaskLimits
from affectstream.preprocessing.media.completeness import Completeness
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.records.record_builder import RecordBuilder
from affectstream.preprocessing.records.record_settings import RecordSettings
from affectstream.preprocessing.windowing import WindowSettings
from affectstream.serving.inference.isolated_reader import start_reader_process
from affectstream.serving.inference.predict_options import PredictOptions
from affectstream.serving.inference.recognizer import Recognizer
from tests.support.factories import clip, preprocess, textured_image, tone, write_media, write_sound

CONFIG: dict[str, Any] = {
    "labels": ["happy", "sad"],
    "streams": ["audio", "video"],
    "input": {"sample_rate_hz": 16_000, "face_size_px": 48, "face_channels": 1},
    "preparation": {
        "detector": "none",
        "sampling": {"mode": "time", "num_frames": 8},
        "face": {"size_px": 48, "color": "grey", "margin": 0.1},
    },
    "windows": WindowSettings().as_json(),
    "synthetic": False,
    "leak_allowed": False,
}
NAME = "03-01-05-01-01-01-{:02d}"


def forward(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model that is sure of nothing."""
    half = np.full((len(inputs["audio"]), 2), 0.5, np.float32)
    return dict.fromkeys(("probabilities", "audio_probabilities", "video_probabilities"), half)


def noise(duration_s: float, rate_hz: int = 16_000) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, round(duration_s * rate_hz)).astype("f4")


def spoiled(path: Path, first: float, last: float) -> Path:
    """Zeros where a share of the file's bytes was."""
    data = bytearray(path.read_bytes())
    a, b = round(first * len(data)), round(last * len(data))
    data[a:b] = bytes(b - a)
    path.write_bytes(bytes(data))
    return path


def halved(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 + 37])
    return path


def spoiled_pictures(path: Path, is_spoiled: Callable[[float], bool]) -> Path:
    """A video with sound, of whose pictures some packets are noise."""
    made = write_media(path.with_name("whole.mp4"), [textured_image(n) for n in range(100)])
    rng = np.random.default_rng(2)
    with av.open(str(made)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                at_s = float((packet.pts or 0) * (packet.time_base or 0))
                if is_spoiled(at_s):
                    packet.update(rng.bytes(packet.size))
                packet.stream = copy
                target.mux(packet)
    return path


def decoded(path: Path, frames: int = 8) -> Completeness:
    with MediaFile(path) as media:
        for _ in media.segments(
            [(0.0, media.info.duration_s)], 16_000, FrameSampling("time", frames)
        ):
            pass
        return media.completeness


# === Figures ===


def test_what_is_said() -> None:
    half = Completeness(0.9, 2.0, 3, 8) + Completeness(1.0, 2.0, 8, 8)
    assert list(half.loss_messages()) == [
        "1.9 of 4.0 s of sound could be decoded",
        "11 of 16 frames looked at could be decoded without damage",
    ]
    assert list(half.loss_messages(sound=False)) == list(half.loss_messages())[1:]
    assert half.decoded_share == pytest.approx(1.9 / 4.0)
    assert list(Completeness(3.9, 4.0, 8, 8).loss_messages()) == []
    assert Completeness(3.9, 4.0, 8, 8).decoded_share == 1.0
    assert Completeness().decoded_share == 1.0


WHOLE = [
    ("x.wav", "pcm_s16le", 16_000),
    ("x.w64", "pcm_s16le", 16_000),
    ("x.aiff", "pcm_s16be", 16_000),
    ("x.au", "pcm_s16be", 16_000),
    ("x.caf", "pcm_s16be", 16_000),
    ("x.flac", "flac", 16_000),
    ("x.mp3", "libmp3lame", 16_000),
    ("x.opus", "libopus", 48_000),
    ("x.aac", "aac", 16_000),
    ("x.m4a", "aac", 16_000),
    ("x.mkv", "aac", 16_000),
    ("x.webm", "libopus", 48_000),
    ("x.tta", "tta", 16_000),
]


@pytest.mark.parametrize(("name", "codec", "rate_hz"), WHOLE)
def test_a_whole_file_and_half_of_it(name: str, codec: str, rate_hz: int, tmp_path: Path) -> None:
    options = {"movflags": "faststart"} if name == "x.m4a" else {}
    path = write_media(
        tmp_path / name,
        waveform=noise(4.0, rate_hz),
        rate_hz=rate_hz,
        audio_codec=codec,
        container_options=options,
    )
    with MediaFile(path) as media:
        assert not media.info.truncated
        assert media.info.available_share == 1.0
    found = decoded(path)
    assert list(found.loss_messages()) == []
    assert found.decoded_audio_s == pytest.approx(4.0, abs=0.15)
    with MediaFile(halved(path)) as media:
        info = media.info
    assert info.truncated
    assert info.available_share < 0.6
    states = name not in ("x.opus", "x.aac", "x.caf")
    assert info.has_header_duration == states
    told = "of 4." if states else "s, the end is missing"
    assert told in info.truncation


def test_mp3_without_a_header_that_states_its_length(tmp_path: Path) -> None:
    options = {"write_xing": "0"}
    path = write_media(
        tmp_path / "x.mp3",
        waveform=noise(4.0),
        rate_hz=16_000,
        audio_codec="libmp3lame",
        container_options=options,
    )
    with MediaFile(path) as media:
        assert not media.info.truncated
    with MediaFile(halved(path)) as media:
        assert media.info.truncation == f"{media.info.duration_s:.1f} s, the end is missing"


@pytest.mark.parametrize("stated", [0xFFFF_FFFF, 0x7FFF_FFFF, 0])
def test_a_wav_from_a_pipe_states_no_length(stated: int, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "x.wav", noise(1.0), 16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", stated)
    path.write_bytes(bytes(data[:-100]))
    if stated:
        with MediaFile(path) as media:
            assert not media.info.truncated


@pytest.mark.parametrize(
    ("name", "codec"),
    [("x.flac", "flac"), ("x.mp3", "libmp3lame"), ("x.ac3", "ac3")],
)
def test_bytes_that_were_lost_are_told_in_seconds(name: str, codec: str, tmp_path: Path) -> None:
    path = write_media(tmp_path / name, waveform=noise(10.0, 48_000), audio_codec=codec)
    assert list(decoded(path).loss_messages()) == []
    found = decoded(spoiled(path, 0.3, 0.7))
    assert found.expected_audio_s == pytest.approx(10.0, abs=0.1)
    assert found.decoded_audio_s == pytest.approx(6.0, abs=0.2)
    assert list(found.loss_messages()) == [
        f"{found.decoded_audio_s:.1f} of 10.0 s of sound could be decoded"
    ]


def test_bytes_of_raw_aac_that_were_skipped_are_told_too(tmp_path: Path) -> None:
    """The library passes them without a packet, so that later sound is early; it is said."""
    path = write_media(tmp_path / "x.aac", waveform=noise(10.0, 48_000), audio_codec="aac")
    tagged = tmp_path / "tagged.aac"
    tagged.write_bytes(b"ID3\x04\0\0\0\3\7\x50" + bytes(50_128) + path.read_bytes())
    with MediaFile(tagged) as media:
        assert not media.info.truncated, "a cover picture before the sound"
    with MediaFile(spoiled(path, 0.3, 0.7)) as media:
        assert media.info.truncated
        assert media.info.truncation == "6.0 of 10.0 s"


def test_a_flipped_bit_of_flac_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "x.flac", waveform=noise(10.0), rate_hz=16_000, audio_codec="flac"
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(bytes(data))
    found = decoded(path)
    assert 0.05 < found.expected_audio_s - found.decoded_audio_s < 0.4, "a frame or two"


def test_a_pause_is_no_damage(tmp_path: Path) -> None:
    from tests.preprocessing.media.test_audio_clock import remuxed

    made = write_media(tmp_path / "a.mkv", waveform=tone(6.0, 48_000))
    path = remuxed(made, tmp_path / "b.mkv", lambda _, at_s: not 2.0 < at_s < 4.0)
    assert list(decoded(path).loss_messages()) == []


def test_packets_of_video_that_are_noise(tmp_path: Path) -> None:
    path = spoiled_pictures(tmp_path / "x.mp4", lambda at_s: at_s >= 2.0)
    found = decoded(path, frames=10)
    assert found.num_wanted_frames == 10
    assert found.num_frames == 5
    with MediaFile(path) as media:
        (tracks,) = media.segments([(0.0, 4.0)], 16_000, FrameSampling("time", 10))
    assert len(tracks.frames) + len(tracks.lost_times_s) == 10
    assert (tracks.lost_times_s >= 2.0).all()


# === Answers ===


def test_predict_warns_and_counts_the_frames_that_were_wanted(tmp_path: Path) -> None:
    path = spoiled_pictures(tmp_path / "x.mp4", lambda at_s: at_s >= 2.0)
    answer = Recognizer(forward, CONFIG, detector="none")(
        path, PredictOptions(window_s=4.0, hop_s=4.0)
    )
    assert "4 of 8 frames looked at could be decoded without damage" in answer.warnings
    assert answer.face_coverage == pytest.approx(0.5)
    (window,) = answer.windows
    assert window.face_coverage == pytest.approx(0.5)


def test_the_warning_comes_from_another_process_too(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "x.flac", waveform=noise(10.0), rate_hz=16_000, audio_codec="flac"
    )
    spoiled(path, 0.3, 0.7)
    here = Recognizer(forward, CONFIG)(path).warnings
    assert any("of 10.0 s of sound could be decoded" in line for line in here)
    with start_reader_process(TaskLimits(60, 2**31)) as process:
        assert Recognizer(forward, CONFIG, reader=process)(path).warnings == here


def test_predict_says_that_a_file_is_cut_off(tmp_path: Path) -> None:
    path = halved(write_sound(tmp_path / "x.wav", noise(4.0), 16_000))
    assert "truncated: 2.0 of 4.0 s" in Recognizer(forward, CONFIG)(path).warnings


# === preprocess ===


def test_preprocess_rejects_below_a_share_and_reports_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    write_sound(source / f"{NAME.format(1)}.wav", tone(4.0), 16_000)
    bad = write_media(
        source / f"{NAME.format(2)}.flac", waveform=noise(4.0), rate_hz=16_000, audio_codec="flac"
    )
    spoiled(bad, 0.3, 0.5)
    words: tuple[str, ...] = ("--detector", "none")
    assert preprocess("ravdess", source, tmp_path / "a", *words) == EXIT_PARTIAL
    said = capsys.readouterr().err
    assert f"rejected {bad.name}: {bad.name}: damaged, " in said
    assert "of 4.0 s of sound could be decoded; copy or record it again, or give a lower" in said
    words = (*words, "--min-decoded-share", "0.5")
    assert preprocess("ravdess", source, tmp_path / "b", *words) == EXIT_OK
    said = capsys.readouterr().err
    assert "damaged: 1 record, for one ravdess/03-01-05-01-01-01-02.flac: " in said
    with (tmp_path / "b/clips.csv").open(newline="") as file:
        told = [json.loads(row["attributes"]).get("damage", "") for row in csv.DictReader(file)]
    assert sum("of 4.0 s of sound could be decoded" in text for text in told) == 1


@pytest.mark.parametrize(
    ("name", "codec", "line"),
    [
        ("wav", "pcm_s16le", "truncated, holds 2.0 s of 4.0 s; copy or record it again"),
        ("opus", "libopus", "s, without its end; copy or record it again"),
    ],
)
def test_preprocess_rejects_what_is_cut_off(
    name: str, codec: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    write_sound(source / f"{NAME.format(1)}.wav", tone(1.0), 16_000)
    rate_hz = 48_000 if codec == "libopus" else 16_000
    halved(
        write_media(
            source / f"{NAME.format(2)}.{name}",
            waveform=noise(4.0, rate_hz),
            rate_hz=rate_hz,
            audio_codec=codec,
        )
    )
    out = tmp_path / "out"
    assert preprocess("ravdess", source, out, "--detector", "none") == EXIT_PARTIAL
    assert line in capsys.readouterr().err
    words = ("--detector", "none", "--min-decoded-share", "0", "--overwrite")
    assert preprocess("ravdess", source, out, *words) == EXIT_OK
    assert "truncated: " in capsys.readouterr().err


def test_a_record_holds_the_frames_that_were_wanted(tmp_path: Path) -> None:
    path = spoiled_pictures(tmp_path / "x.mp4", lambda at_s: 1.0 <= at_s < 2.0)
    settings = RecordSettings("none", FrameSampling("time", 8), min_decoded_share=0.0)
    (record,) = RecordBuilder(settings).records(clip(path))
    assert record.num_frames == len(record.face_mask) == len(record.faces) == 8
    assert (np.diff(record.frame_times_s) > 0).all()
    lost = ~record.face_mask
    assert lost.any()
    assert ((record.frame_times_s[lost] >= 1.0) & (record.frame_times_s[lost] < 2.0)).all()
    assert not record.faces[lost].any()
    assert record.attributes["damage"].endswith("frames looked at could be decoded without damage")


def test_the_share_is_a_setting_that_older_folders_lack() -> None:
    assert "min_decoded_share" not in RecordSettings("none").as_json()
    told = RecordSettings("none", min_decoded_share=0.5).as_json()
    assert RecordSettings.from_json(told).min_decoded_share == 0.5
