"""Decodes the audio of a media file into segments and places samples by their time stamps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import av
import av.error
import numpy as np

from affectstream.preprocessing.media.audio.audio_clock import (
    JITTER_S,
    AudioTimeline,
    PacketPlacement,
)
from affectstream.preprocessing.media.audio.channels import deinterleave, downmix, downmix_weights

# PyAV 18 handles at most eight planes; for a ninth channel it would read unrelated memory.
_INTERLEAVED = "flt"
# Some containers round stamps to a millisecond.
_AFTER_LOSS_S = 0.002
_FAR_BACK = -(2**62)


class AudioReader:
    """Decodes audio packets to mono waveforms of the requested rate, one per segment.

    Channels are mixed after resampling (libswresample), by `downmix_weights`. Every frame is placed
    by its time stamp, corrected by `AudioTimeline`: a gap is silence.

    Args:
      clock: for all packets of the stream.
      sample_rate_hz: of the waveforms.
      bounds_s: start and end of each segment, ascending.
      channel: channel that replaces the mix; None for the mix.
    """

    def __init__(
        self,
        clock: AudioTimeline,
        sample_rate_hz: int,
        bounds_s: Sequence[tuple[float, float]],
        channel: int | None = None,
    ) -> None:
        self._channel = channel
        self._rate = sample_rate_hz
        self._clock = clock
        self._resampler = av.AudioResampler(format=_INTERLEAVED, rate=sample_rate_hz)
        self._kind: tuple[str, str, int] | None = None
        self._bounds = [(round(a * sample_rate_hz), round(b * sample_rate_hz)) for a, b in bounds_s]
        self._pieces: list[tuple[int, np.ndarray]] = []
        # Position of the next resampled sample of the current run, and the end of all audio.
        self._next: int | None = None
        self._position = _FAR_BACK
        self._expected_s = 0.0
        self._has_lost = False
        self._num_taken = self._num_heard = 0
        self.num_samples = 0
        self.num_damaged = 0

    def feed(self, packet: av.Packet) -> None:
        """Decodes one packet; a damaged one is counted and skipped."""
        place = self._clock.place(packet.pts) if packet.size else None
        try:
            frames: Sequence[Any] = packet.decode()
            for frame in frames:
                if frame.sample_rate <= 0:
                    raise av.error.InvalidDataError(0, "a rate of none")
                self._keep(frame, packet, place, len(frames) == 1)
        except av.error.FFmpegError:
            self.num_damaged += 1
            self._has_lost = True

    def flush(self) -> None:
        """Takes the rest from the resampler; nothing if no frame was decoded."""
        if self._next is not None:
            try:
                self._store(self._resampler.resample(None))
            except av.error.FFmpegError:
                self.num_damaged += 1

    # === Where a frame belongs ===

    def _keep(
        self, frame: av.AudioFrame, packet: av.Packet, place: PacketPlacement | None, is_alone: bool
    ) -> None:
        start_s = self._start_s(frame, packet, place, is_alone)
        if start_s is None:
            if self._next is None and self._clock.has_stamps:
                return  # its position is unknown, just after a jump into the file
            start_s = self._expected_s
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        # After undecodable data the sample count is wrong by its length, however short.
        tolerance_s = _AFTER_LOSS_S if self._has_lost else JITTER_S
        is_away = abs(start_s - self._expected_s) > tolerance_s
        if self._next is None or is_away:
            self._begin(start_s, frame, place)
        elif self._kind != kind:  # joined files: mono continues as stereo, or at another rate
            self.flush()
            self._resampler = av.AudioResampler(format=_INTERLEAVED, rate=self._rate)
        self._kind = kind
        self._has_lost = False
        self._expected_s += frame.samples / frame.sample_rate
        frame.pts = None
        self._store(self._resampler.resample(frame))

    def _start_s(
        self, frame: av.AudioFrame, packet: av.Packet, place: PacketPlacement | None, is_alone: bool
    ) -> float | None:
        if frame.pts is None:
            return None
        if place is None:
            return self._clock.seconds(frame.pts)
        cut = is_alone and packet.pts is not None and frame.pts > packet.pts
        if cut and place.duration_s is not None:
            # Codecs begin with samples that are not played; their number is finer than a stamp.
            return place.start_s + place.duration_s - frame.samples / frame.sample_rate
        return self._clock.seconds(frame.pts) + place.shift_s

    def _begin(self, start_s: float, frame: av.AudioFrame, place: PacketPlacement | None) -> None:
        """Begins a run of audio that does not continue the one before."""
        self.flush()
        self._resampler = av.AudioResampler(format=_INTERLEAVED, rate=self._rate)
        self._expected_s = start_s
        self._next = round(start_s * self._rate)
        if place is None:
            return
        self._position = max(self._position, round(place.keep_from_s * self._rate))
        self._align(start_s - place.run_start_s, place.run_start_s, frame)

    def _align(self, into_run_s: float, run_start_s: float, frame: av.AudioFrame) -> None:
        """Aligns resampled samples as if the run had been read from its beginning.

        Silence is inserted before the first frame, so that it starts where the sample grids of
        both rates coincide.
        """
        step = frame.sample_rate // math.gcd(frame.sample_rate, self._rate)
        into_run = round(into_run_s * frame.sample_rate)
        num_before = into_run % step
        channels = frame.layout.nb_channels
        if num_before > frame.sample_rate / 2 or (frame.format.is_planar and channels > 8):
            return
        first = (into_run - num_before) // step * (self._rate * step // frame.sample_rate)
        self._next = round(run_start_s * self._rate) + first
        if num_before:
            silence = av.AudioFrame(frame.format, frame.layout, num_before)
            silence.sample_rate = frame.sample_rate
            zero = b"\x80" if frame.format.name.startswith("u8") else b"\x00"
            for plane in silence.planes:
                plane.update(zero * plane.buffer_size)
            self._store(self._resampler.resample(silence))

    # === Samples ===

    def _store(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            by_channel = deinterleave(frame)
            if self._channel is not None and self._channel < len(by_channel):
                self._add(by_channel[self._channel])
            else:
                self._add(downmix(by_channel, downmix_weights(frame.layout)))

    def _add(self, samples: np.ndarray) -> None:
        """Keeps the samples that are new and belong to a segment not yet taken."""
        first = self._next or 0
        self._next = first + len(samples)
        self.num_samples += len(samples)
        overlap = max(self._position - first, 0)
        if overlap < len(samples):
            self._position = self._next
            if first < self._last_bound and self._next > self._first_bound:
                self._pieces.append((first + overlap, samples[overlap:]))

    @property
    def _first_bound(self) -> int:
        return self._bounds[min(self._num_taken, len(self._bounds) - 1)][0] if self._bounds else 0

    @property
    def _last_bound(self) -> int:
        return self._bounds[-1][1] if self._bounds else 0

    def is_complete(self, index: int) -> bool:
        """Whether all audio of a segment is decoded."""
        return self._next is not None and self._reached >= self._bounds[index][1]

    @property
    def _reached(self) -> int:
        return self._position if self._next is None else max(self._position, self._next)

    def take(self, index: int) -> np.ndarray | None:
        """(samples,) float32 of a segment, up to the end of the audio; None without any.

        Gaps before that end are zeros.
        """
        start, end = self._bounds[index]
        self._num_taken = index + 1
        self._num_heard = 0
        end = min(end, max(self._reached, start))
        if end == start:
            return None
        waveform = np.zeros(end - start, np.float32)
        for offset, samples in self._pieces:
            first, last = max(offset, start), min(offset + len(samples), end)
            if first < last:
                waveform[first - start : last - start] = samples[first - offset : last - offset]
                self._num_heard += last - first
        self._pieces = [piece for piece in self._pieces if piece[0] + len(piece[1]) > end]
        return waveform

    @property
    def decoded_s(self) -> float:
        """Seconds of decoded audio in the segment taken last."""
        return self._num_heard / self._rate
