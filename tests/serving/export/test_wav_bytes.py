"""WAV files read and resampled in the graph: what they say, and what is refused."""

from __future__ import annotations

import struct
from typing import Any

import av
import numpy as np
import pytest
import soxr
import tensorflow as tf

from affectstream.serving.export.wav_bytes import MAX_CHUNKS, decode_wavs, to_wav
from affectstream.serving.export.wav_bytes import resample as resample_in_graph

RATE_HZ = 16_000
FMT = struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
PCM = (np.sin(np.arange(300)) * 9000).astype(np.int16)
PCM_SUBFORMAT = bytes.fromhex("0100000000001000800000aa00389b71")
FLOAT_SUBFORMAT = bytes.fromhex("0300000000001000800000aa00389b71")


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def fmt(
    tag: int = 1, channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16, frame: int = 2
) -> bytes:
    return chunk(
        b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame, frame, bits)
    )


def extensible(subformat: bytes) -> bytes:
    head = struct.pack("<HHIIHH", 0xFFFE, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    return chunk(b"fmt ", head + struct.pack("<HHI", 22, 16, 4) + subformat)


DATA = chunk(b"data", PCM.tobytes())


@pytest.fixture(scope="module")
def read() -> Any:
    """Reads a batch at 16 kHz as it is served: inside a graph, of any number of rows."""
    spec = tf.TensorSpec((None,), tf.string)
    read = tf.function(lambda wav: decode_wavs(wav, RATE_HZ), input_signature=[spec])

    def call(*wavs: bytes) -> tuple[np.ndarray, np.ndarray]:
        audio, length = read(tf.constant(list(wavs), tf.string))
        return audio.numpy(), length.numpy()

    return call


# === What is read ===


@pytest.mark.parametrize(
    "wav",
    [
        to_wav(PCM, RATE_HZ),
        riff(chunk(b"LIST", b"INFOISFTx"), fmt(), DATA),  # odd: one byte of padding
        riff(fmt(), chunk(b"fact", b"1234"), DATA, chunk(b"id3 ", b"odd")),
        riff(DATA, fmt()),
        riff(extensible(PCM_SUBFORMAT), DATA),
        riff(fmt(), b"data\xff\xff\xff\xff" + PCM.tobytes()),  # from a pipe
        riff(fmt(), DATA) + b"left over",
        riff(*[chunk(b"JUNK", b"")] * 40, fmt(), DATA),
    ],
)
def test_chunks_in_any_order(read: Any, wav: bytes) -> None:
    audio, length = read(wav)
    np.testing.assert_array_equal(audio[0], PCM / np.float32(32768))
    assert length.tolist() == [len(PCM)]


def test_channels_are_averaged(read: Any) -> None:
    three = np.stack([PCM, -PCM // 2, PCM // 4], axis=1)
    audio, _ = read(to_wav(three, RATE_HZ))
    np.testing.assert_allclose(audio[0], three.mean(axis=1) / 32768, atol=1e-7)


def test_rows_of_different_lengths(read: Any) -> None:
    long = np.tile(PCM, 4)
    silence = np.full(900, 3, np.int16)  # what `predict` takes for none
    offset = np.full(900, 3000, np.int16)  # likewise
    told = (to_wav(one, RATE_HZ) for one in (long, silence, offset))
    audio, length = read(to_wav(PCM, RATE_HZ), b"", *told)
    assert length.tolist() == [300, 0, 1200, 0, 0]
    np.testing.assert_array_equal(audio[2], long / np.float32(32768))
    assert not audio[0, 300:].any()
    assert not audio[[1, 3, 4]].any()


def test_nothing_but_missing_rows(read: Any) -> None:
    audio, length = read(b"", b"")
    assert audio.shape == (2, 0)
    assert length.tolist() == [0, 0]
    assert read()[1].shape == (0,)


# === What is refused ===

WHOLE = riff(fmt(), DATA)


@pytest.mark.parametrize(
    ("wav", "says"),
    [
        (b"R", "no WAV file"),
        (b"OggS" + bytes(60), "no WAV file"),
        (b"RIFX" + WHOLE[4:], "no WAV file"),
        (bytes(44), "no WAV file"),
        (WHOLE[:12], "header is cut off"),
        (WHOLE[:30], "header is cut off"),
        (WHOLE[:36], "without sound in it"),
        (WHOLE[:-100], "cut off after 500 of 600 bytes"),
        (riff(chunk(b"fmt ", FMT[:14]), DATA), "header is too short"),
        (riff(chunk(b"fmt ", bytes(16)), DATA), "encoding 0 with 0 bits"),
        (riff(fmt(3, bits=32, frame=4), DATA), "encoding 3 with 32 bits"),
        (riff(fmt(bits=24, frame=3), DATA), "encoding 1 with 24 bits"),
        (riff(fmt(bits=8, frame=1), DATA), "encoding 1 with 8 bits"),
        (riff(fmt(6, bits=8, frame=1), DATA), "encoding 6 with 8 bits"),
        (riff(extensible(FLOAT_SUBFORMAT), DATA), "encoding 3 with 16 bits"),
        (riff(extensible(PCM_SUBFORMAT[:8] + bytes(8)), DATA), "encoding 65534 with 16 bits"),
        (riff(fmt(channels=0, frame=0), DATA), "of 0 channels"),
        (riff(fmt(channels=500, frame=1000), DATA), "of 500 channels"),
        (riff(fmt(frame=4), DATA), "contradicts itself"),
        (riff(fmt(rate_hz=0), DATA), "of 0 Hz"),
        (riff(fmt(rate_hz=2_000_000_000), DATA), "of 2000000000 Hz"),
        (riff(fmt(), chunk(b"data", b"")), "without a sample"),
        (riff(fmt(), chunk(b"data", b"x")), "without a sample"),
        (riff(DATA), "header is cut off"),
        (riff(*[chunk(b"JUNK", b"")] * MAX_CHUNKS, fmt(), DATA), "header is cut off"),
    ],
)
def test_what_is_no_16_bit_pcm(read: Any, wav: bytes, says: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        read(to_wav(PCM, RATE_HZ), wav)
    message = str(caught.value)
    assert says in message
    assert "row 1: " in message
    assert "send 16-bit PCM WAV" in message
    assert "row 0" not in message
    assert read(to_wav(PCM, RATE_HZ))[1].tolist() == [300]  # and goes on


def test_no_bytes_at_random_bring_it_down(read: Any) -> None:
    rng = np.random.default_rng(4)
    for _ in range(60):
        broken = bytearray(riff(chunk(b"LIST", b"INFO"), fmt(), DATA))
        for place in rng.integers(0, 60, 3):
            broken[place] = rng.integers(0, 256)
        try:
            audio, _ = read(bytes(broken[: rng.integers(1, len(broken) + 1)]))
        except tf.errors.InvalidArgumentError as error:
            assert "row 0: " in str(error)  # our words, not those of an operation that fell over
        else:
            assert np.isfinite(audio).all()


# === Resampling ===


def tones(rate_hz: int, to_hz: int, seconds: float = 0.5) -> np.ndarray:
    """(samples,) float32: tones up to 0.7 of the lower Nyquist frequency, faded in and out."""
    at_s = np.arange(round(seconds * rate_hz)) / rate_hz
    shares = np.array([0.01, 0.1, 0.3, 0.5, 0.7]) * min(rate_hz, to_hz) / 2
    sines = np.sin(2 * np.pi * shares[:, None] * at_s + np.arange(5)[:, None]).mean(axis=0)
    return (sines * np.hanning(len(at_s))).astype(np.float32)


@pytest.fixture(scope="module")
def resample() -> Any:
    made: dict[int, Any] = {}
    spec = [tf.TensorSpec((None,), tf.float32), tf.TensorSpec((), tf.int64)]

    def call(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
        if to_hz not in made:
            made[to_hz] = tf.function(
                lambda x, hz: resample_in_graph(x, hz, to_hz), input_signature=spec
            )
        return made[to_hz](waveform, tf.constant(from_hz, tf.int64)).numpy()

    return call


@pytest.mark.parametrize("to_hz", [16_000, 48_000])
@pytest.mark.parametrize("from_hz", [8_000, 11_025, 22_050, 44_100, 44_101, 96_000])
def test_equal_to_soxr(resample: Any, from_hz: int, to_hz: int) -> None:
    waveform = tones(from_hz, to_hz)
    made = resample(waveform, from_hz, to_hz)
    wanted = soxr.resample(waveform, from_hz, to_hz, quality="VHQ")
    assert len(made) == round(len(waveform) * to_hz / from_hz)
    shared = min(len(made), len(wanted))
    np.testing.assert_allclose(made[:shared], wanted[:shared], atol=1e-3)


@pytest.mark.parametrize("from_hz", [8_000, 22_050, 44_100, 48_000])
def test_equal_to_what_predict_hears(resample: Any, from_hz: int) -> None:
    """White noise, in which every difference between two filters is heard."""
    noise = np.random.default_rng(3).normal(0, 0.1, from_hz // 2).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(noise[None], format="fltp", layout="mono")
    frame.sample_rate = from_hz
    resampler = av.AudioResampler(format="fltp", rate=RATE_HZ)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    wanted = np.concatenate([one.to_ndarray()[0] for one in frames])
    made = resample(noise, from_hz, RATE_HZ)
    assert abs(len(made) - len(wanted)) <= 1
    inside = slice(100, len(wanted) - 100)
    np.testing.assert_allclose(made[inside], wanted[inside], atol=5e-4)


def test_what_lies_above_is_gone(resample: Any) -> None:
    """A tone above the new Nyquist frequency must not come back as another."""
    at_s = np.arange(24_000) / 48_000
    tone = (np.sin(2 * np.pi * 10_000 * at_s) * np.hanning(len(at_s))).astype(np.float32)
    assert np.abs(resample(tone, 48_000, 16_000)).max() < 1e-3


def test_a_constant_keeps_its_level(resample: Any) -> None:
    for from_hz in (44_100, 8_000):
        made = resample(np.ones(4_000, np.float32), from_hz, 16_000)
        np.testing.assert_allclose(made[400:-400], 1, atol=1e-5)


def test_few_samples(resample: Any) -> None:
    assert resample(np.ones(1, np.float32), 192_000, 16_000).shape == (1,)
    assert resample(np.ones(1, np.float32), 2_000, 16_000).shape == (8,)


def test_what_lies_behind_the_window_is_not_decoded() -> None:
    rng = np.random.default_rng(1)
    for rate_hz in (16_000, 44_100, 8_000):
        wav = tf.constant([to_wav(rng.integers(-9000, 9000, 3 * rate_hz, np.int16), rate_hz)])
        whole, _ = decode_wavs(wav, RATE_HZ)
        cut, length = decode_wavs(wav, RATE_HZ, 10_000)
        assert length.numpy().tolist() == [10_000]
        np.testing.assert_array_equal(cut[0], whole[0, :10_000])
