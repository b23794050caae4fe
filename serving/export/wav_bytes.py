"""Decodes WAV files to waveforms at a model's rate, inside the graph."""

from __future__ import annotations

import io
import math
import wave
from typing import Any

import numpy as np
import tensorflow as tf

from affectstream.preprocessing.pcm import INT16_SCALE, SILENCE_PEAK

REMEDY = "send 16-bit PCM WAV (ffmpeg -i IN -c:a pcm_s16le OUT.wav)"
MIN_RATE_HZ, MAX_RATE_HZ = 2_000, 192_000
MAX_CHANNELS = 32
# Number of chunks searched for format and audio, so that an endless list ends.
MAX_CHUNKS = 64

FORMAT_PCM, FORMAT_EXTENSIBLE = 0x0001, 0xFFFE
# Bytes after the encoding number in the subformat GUID of WAVE_FORMAT_EXTENSIBLE.
SUBFORMAT_TAIL = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
ROWS_NAMED = 3  # at most this many wrong files are named
UNKNOWN_SIZE = 0xFFFFFFFF  # written if a pipe kept the writer from seeking back
SAMPLE_BYTES = 2

# The low-pass filter is libswresample's default, which was used for the records and in `predict`: a
# sinc of 16 zero crossings per side with a Kaiser window. A steeper one passes more, and models
# that use the highest bands then give other outputs.
ZERO_CROSSINGS = 16
ROLLOFF = 0.97
KAISER_BETA = 9.0
SAMPLES_PER_STEP = 1024


def to_wav(pcm: np.ndarray, rate_hz: int) -> bytes:
    """A WAV file of 16-bit PCM.

    Args:
      pcm: (samples,) or (samples, channels) int16.
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        writer.setsampwidth(SAMPLE_BYTES)
        writer.setframerate(rate_hz)
        writer.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


# === Whole files ===


def decode_wavs(wav: Any, rate_hz: int, max_samples: int | None = None) -> tuple[Any, Any]:
    """Waveforms of a batch of WAV files, mono, resampled to one rate.

    Channels are averaged. An empty string is a missing stream with length 0. So is silence, also
    around a constant offset, as in `predict` and in training.

    Args:
      wav: (batch,) string; RIFF WAVE with 16-bit PCM, from 2 to 192 kHz and up to 32 channels,
        plain or WAVE_FORMAT_EXTENSIBLE, chunks in any order.
      rate_hz: of the result.
      max_samples: length limit of the result; later samples are not decoded.
    Returns:
      (batch, samples) float32 in [-1, 1), zero beyond each length; (batch,) int32 lengths.
    Raises:
      tf.errors.InvalidArgumentError: other contents; the message names rows and remedy.
    Source: RIFF, Microsoft and IBM 1991; WAVEFORMATEXTENSIBLE, Microsoft 2001.
    """
    int64s = (tf.int64,) * 4
    problems, *found = tf.map_fn(_header, wav, fn_output_signature=(tf.string, *int64s))
    with tf.control_dependencies([assert_no_problems(problems)]):
        given = tuple(tf.identity(one) for one in (wav, *found))

    def one_row(row: tuple[Any, ...]) -> Any:
        return _waveform(row, rate_hz, max_samples)

    signature = tf.RaggedTensorSpec([None], tf.float32, ragged_rank=0)
    ragged = tf.map_fn(one_row, given, fn_output_signature=signature)
    return ragged.to_tensor(), tf.cast(ragged.row_lengths(), tf.int32)


def assert_no_problems(problems: Any) -> Any:
    """Operation that fails if a row has a problem.

    Args:
      problems: (batch,) string, "" for a row without problems.
    """
    rows = tf.strings.as_string(tf.range(tf.size(problems)))
    lines = tf.strings.join(["row ", rows, ": ", problems])
    lines = tf.boolean_mask(lines, tf.not_equal(problems, ""))
    said = tf.strings.reduce_join(lines[:ROWS_NAMED], separator=" | ")
    return tf.debugging.Assert(tf.equal(tf.size(lines), 0), [said])


def _waveform(row: tuple[Any, ...], rate_hz: int, max_samples: int | None) -> Any:
    """(samples,) float32 of one file with a valid header."""
    wav, start, num_frames, num_channels, from_hz = row
    if max_samples is not None:
        # The filter needs half its width beyond the samples that are read.
        wider = tf.maximum(from_hz, rate_hz)
        most = (max_samples * from_hz + 2 * ZERO_CROSSINGS * wider) // rate_hz + 2
        num_frames = tf.minimum(num_frames, most)
    num_bytes = num_frames * num_channels * SAMPLE_BYTES
    pcm = tf.io.decode_raw(tf.strings.substr(wav, start, num_bytes), tf.int16)
    pcm = tf.reshape(tf.cast(pcm, tf.float32), tf.stack([num_frames, num_channels]))
    mono = tf.reduce_mean(pcm, axis=1) / INT16_SCALE
    is_rate = tf.logical_or(tf.equal(from_hz, rate_hz), tf.equal(num_frames, 0))
    mono = tf.cond(is_rate, lambda: mono, lambda: resample(mono, from_hz, rate_hz))
    mono = mono[:max_samples]
    around_mean = tf.abs(
        mono - tf.reduce_mean(mono)
    )  # as in `affectstream.preprocessing.records.record.is_silent`
    is_silent = tf.reduce_max(around_mean, axis=0) < SILENCE_PEAK
    return mono[: tf.where(is_silent, 0, tf.size(mono))]


# === Header ===


def _header(wav: Any) -> tuple[Any, ...]:
    """Checks the header of one file and locates its audio.

    Returns:
      () string, "" if nothing is wrong; () int64 each: first byte of audio, samples per channel,
      channels (1 if the file is empty), sampling rate.
    """
    length = tf.cast(tf.strings.length(wav), tf.int64)
    padded = tf.strings.join([wav, b"\0" * 64])  # fields can be read before the check

    def text(position: Any, num_bytes: int) -> Any:
        return tf.strings.substr(padded, position, num_bytes)

    def number(position: Any, num_bytes: int) -> Any:
        words = tf.cast(tf.io.decode_raw(text(position, num_bytes), tf.uint16), tf.int64)
        return words[0] if num_bytes == 2 else words[0] + words[1] * 65536

    fmt_start, fmt_size, start, size = _chunks(text, number, length)
    fmt = tf.maximum(fmt_start, 0)
    tag, channels, bits = number(fmt, 2), number(fmt + 2, 2), number(fmt + 14, 2)
    rate_hz, frame_bytes = number(fmt + 4, 4), number(fmt + 12, 2)
    is_tail = tf.equal(text(fmt + 26, len(SUBFORMAT_TAIL)), SUBFORMAT_TAIL)
    is_extended = tf.logical_and(tf.equal(tag, FORMAT_EXTENSIBLE), fmt_size >= 40)
    is_extended = tf.logical_and(is_extended, is_tail)
    tag = tf.where(is_extended, number(fmt + 24, 2), tag)

    rest = tf.maximum(length - start, 0)
    size = tf.where(tf.equal(size, UNKNOWN_SIZE), rest, size)
    num_frames = size // tf.maximum(frame_bytes, 1)
    is_riff = tf.logical_and(tf.equal(text(0, 4), b"RIFF"), tf.equal(text(8, 4), b"WAVE"))
    fmt_ends = fmt + tf.maximum(fmt_size, 16)
    shown = tf.strings.as_string
    problem = _first(
        (tf.logical_not(is_riff), "no WAV file"),
        (tf.logical_or(fmt_start < 0, fmt_ends > length), "a WAV whose header is cut off"),
        (fmt_size < 16, "a WAV whose header is too short"),
        (
            tf.logical_or(tf.not_equal(tag, FORMAT_PCM), tf.not_equal(bits, 16)),
            tf.strings.join(["a WAV of encoding ", shown(tag), " with ", shown(bits), " bits"]),
        ),
        (
            tf.logical_or(channels < 1, channels > MAX_CHANNELS),
            tf.strings.join(["a WAV of ", shown(channels), " channels"]),
        ),
        (
            tf.not_equal(frame_bytes, channels * SAMPLE_BYTES),
            "a WAV that contradicts itself",
        ),
        (
            tf.logical_or(rate_hz < MIN_RATE_HZ, rate_hz > MAX_RATE_HZ),
            tf.strings.join(["a WAV of ", shown(rate_hz), " Hz"]),
        ),
        (start < 0, "a WAV without sound in it"),
        (
            size > rest,
            tf.strings.join(["a WAV cut off after ", shown(rest), " of ", shown(size), " bytes"]),
        ),
        (num_frames < 1, "a WAV without a sample (where there is no sound, send an empty string)"),
    )
    problem = tf.where(tf.equal(length, 0), "", problem)
    is_there = tf.logical_and(length > 0, tf.equal(problem, ""))
    return (
        problem,
        tf.where(is_there, start, 0),
        tf.where(is_there, num_frames, 0),
        tf.where(is_there, channels, 1),
        tf.where(is_there, rate_hz, MIN_RATE_HZ),
    )


def _chunks(text: Any, number: Any, length: Any) -> tuple[Any, Any, Any, Any]:
    """Start and size of the chunks `fmt ` and `data`; -1 and 0 for a missing chunk."""

    def goes_on(position: Any, fmt: Any, _: Any, data: Any, __: Any, count: Any) -> Any:
        is_open = tf.logical_and(position + 8 <= length, count < MAX_CHUNKS)
        return tf.logical_and(is_open, tf.logical_or(fmt < 0, data < 0))

    def step(
        position: Any, fmt: Any, fmt_size: Any, data: Any, data_size: Any, count: Any
    ) -> tuple[Any, ...]:
        name, size, start = text(position, 4), number(position + 4, 4), position + 8
        is_fmt = tf.logical_and(tf.equal(name, b"fmt "), fmt < 0)
        is_data = tf.logical_and(tf.equal(name, b"data"), data < 0)
        return (
            start + size + size % 2,
            tf.where(is_fmt, start, fmt),
            tf.where(is_fmt, size, fmt_size),
            tf.where(is_data, start, data),
            tf.where(is_data, size, data_size),
            count + 1,
        )

    first = tuple(tf.constant(value, tf.int64) for value in (12, -1, 0, -1, 0, 0))
    _, fmt, fmt_size, data, data_size, _ = tf.while_loop(goes_on, step, first)
    return fmt, fmt_size, data, data_size


def _first(*problems: tuple[Any, Any]) -> Any:
    """() string: text of the first true condition, with the remedy; "" if none is true."""
    said = tf.constant("")
    for holds, words in reversed(problems):
        said = tf.where(holds, tf.strings.join([words, "; ", REMEDY]), said)
    return said


# === Resampling ===


def resample(waveform: Any, from_hz: Any, to_hz: int) -> Any:
    """Resamples a waveform by a windowed sinc in polyphase form.

    Both rates are divided by their greatest common divisor. Each output sample has one of
    `to_hz` / divisor phases, and each phase has a row of coefficients that sum to 1. The filter is
    computed in the graph, because each file has its own rate.

    Args:
      waveform: (samples,) float32.
      from_hz: () int64, 1 or more.
      to_hz: of the result.
    Returns:
      (round(samples * to_hz / from_hz),) float32, at least one sample.
    Source: Crochiere & Rabiner 1983, Multirate Digital Signal Processing, 3.3; filter of
      libswresample's resample.c. Agrees with soxr's VHQ to 1e-3 up to 0.7 of the lower Nyquist
      frequency.
    """
    from_hz = tf.cast(from_hz, tf.int64)
    divisor = _common_divisor(from_hz, to_hz)
    up, down = to_hz // divisor, from_hz // divisor
    num_outputs = (tf.size(waveform, tf.int64) * up + down // 2) // down
    num_outputs = tf.maximum(num_outputs, 1)
    coefficients, half = _coefficients(up, down, tf.minimum(up, num_outputs))
    padded = tf.pad(waveform, [[half, half + 1]])
    last = tf.size(padded) - 1

    def some(first: Any) -> Any:
        numbers = first + tf.range(SAMPLES_PER_STEP, dtype=tf.int64)
        base = tf.cast(numbers * down // up, tf.int32)
        index = tf.minimum(base[:, None] + tf.range(1, 2 * half + 1)[None, :], last)
        row = tf.minimum(numbers % up, tf.shape(coefficients, tf.int64)[0] - 1)
        return tf.einsum("nt,nt->n", tf.gather(padded, index), tf.gather(coefficients, row))

    steps = tf.range(0, num_outputs, SAMPLES_PER_STEP, dtype=tf.int64)
    signature = tf.TensorSpec([SAMPLES_PER_STEP], tf.float32)
    done = tf.map_fn(some, steps, fn_output_signature=signature, parallel_iterations=2)
    return tf.reshape(done, [-1])[:num_outputs]


def _common_divisor(first: Any, second: int) -> Any:
    """() int64, by Euclid's algorithm."""
    pair = (tf.cast(first, tf.int64), tf.constant(second, tf.int64))
    return tf.while_loop(lambda _, b: b > 0, lambda a, b: (b, a % b), pair)[0]


def _coefficients(up: Any, down: Any, num_rows: Any) -> tuple[Any, Any]:
    """Coefficients of the first `num_rows` output samples; they repeat after `up` samples.

    Returns:
      (num_rows, 2 * half) float32, for the inputs from `half - 1` before the output sample to
      `half` after it; () int32 half.
    """
    ratio = tf.cast(up, tf.float32) / tf.cast(down, tf.float32)
    scale = tf.minimum(ROLLOFF * ratio, 1.0)  # edge of the filter to the input's Nyquist frequency
    half_width = tf.math.ceil(2 * ZERO_CROSSINGS / scale) / 2  # inputs; whole taps
    half = tf.cast(tf.math.ceil(half_width), tf.int32)
    phases = tf.range(num_rows, dtype=tf.int64) * down % up
    behind = tf.cast(phases, tf.float32) / tf.cast(up, tf.float32)
    offsets = tf.cast(tf.range(1 - half, half + 1), tf.float32)
    inputs = offsets[None, :] - behind[:, None]
    inside = 1.0 - tf.square(inputs / half_width)
    kaiser = tf.math.bessel_i0(KAISER_BETA * tf.sqrt(tf.maximum(inside, 0.0)))
    angle = math.pi * scale * inputs
    sinc = tf.math.divide_no_nan(tf.sin(angle), angle)
    sinc = tf.where(tf.equal(angle, 0.0), 1.0, sinc)
    values = tf.where(inside > 0, sinc * kaiser, 0.0)
    return values / tf.reduce_sum(values, axis=1, keepdims=True), half
