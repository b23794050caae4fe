"""The two sides of a media file: sound cut into stretches, and exactly the wanted frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import av
import av.error
import numpy as np

from preprocessing.frame_plan import plan_packets

Look = Callable[[av.VideoFrame], Any]

# Of planes PyAV 18 knows eight: of a ninth channel it would read whatever lies in memory there.
_INTERLEAVED = "flt"

# Decoders that take `skip_frame` anew with each packet; dav1d (AV1) reads it once, when it opens.
_SKIPPING_DECODERS = frozenset(["h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"])


class AudioReader:
    """Turns packets of sound into mono waveforms of the wanted rate, one a stretch.

    Channels are averaged after resampling (libswresample), so that stereo keeps its level.
    Samples are placed by the time stamp of the first decoded frame.
    """

    def __init__(
        self, zero_s: float, sample_rate_hz: int, bounds_s: Sequence[tuple[float, float]]
    ) -> None:
        self._rate = sample_rate_hz
        self._zero_s = zero_s
        self._resampler = av.AudioResampler(format=_INTERLEAVED, rate=sample_rate_hz)
        self._kind: tuple[str, str, int] | None = None
        self._bounds = [(round(a * sample_rate_hz), round(b * sample_rate_hz)) for a, b in bounds_s]
        self._pieces: list[tuple[int, np.ndarray]] = []
        self._position: int | None = None
        self.num_samples = 0
        self.num_damaged = 0

    def feed(self, packet: av.Packet) -> None:
        """Decodes one packet; a damaged one is counted and passed over."""
        try:
            frames: Sequence[Any] = packet.decode()
            for frame in frames:
                self._keep(frame)
        except av.error.FFmpegError:
            self.num_damaged += 1

    def flush(self) -> None:
        """Takes what the resampler still holds back; nothing where it never understood a frame."""
        if self._position is not None:
            try:
                self._store(self._resampler.resample(None))
            except av.error.FFmpegError:
                self.num_damaged += 1

    def _keep(self, frame: av.AudioFrame) -> None:
        if self._position is None:
            self._position = 0
            if frame.pts is not None and frame.time_base is not None:
                start_s = float(frame.pts * frame.time_base) - self._zero_s
                self._position = round(start_s * self._rate)
        frame.pts = None
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._kind not in (
            None,
            kind,
        ):  # joined files: mono goes on as stereo, or at another rate
            self.flush()
            self._resampler = av.AudioResampler(format=_INTERLEAVED, rate=self._rate)
        self._kind = kind
        self._store(self._resampler.resample(frame))

    def _store(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            by_channel = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T
            samples = by_channel.mean(axis=0, dtype=np.float32)
            self._pieces.append((self._position or 0, samples))
            self._position = (self._position or 0) + len(samples)
            self.num_samples += len(samples)

    def passed(self, index: int) -> bool:
        """Whether all sound of a stretch is there."""
        return self._position is not None and self._position >= self._bounds[index][1]

    def take(self, index: int) -> np.ndarray | None:
        """(samples,) float32 of a stretch, up to where the sound ends; None where there is none."""
        start, end = self._bounds[index]
        end = min(end, max(self._position or 0, start))
        if end == start:
            return None
        waveform = np.zeros(end - start, np.float32)
        for offset, samples in self._pieces:
            first, last = max(offset, start), min(offset + len(samples), end)
            if first < last:
                waveform[first - start : last - start] = samples[first - offset : last - offset]
        self._pieces = [piece for piece in self._pieces if piece[0] + len(piece[1]) > end]
        return waveform


class VideoReader:
    """Decodes no more than is needed to show the wanted frames.

    Packets behind the last wanted frame of a group of pictures are not decoded, and frames to which
    no other refers are skipped by the decoder; what is wanted comes out the same to the bit.

    Args:
      codec_context: of the video stream.
      packet_order: (packets,) int64 presentation stamps in file order, or numbers without stamps.
      is_keyframe: (packets,) bool, in file order.
      has_stamps: whether packets carry presentation stamps.
      chosen: for each stretch the wanted frames, as indices in order of display.
      look: called once on each wanted frame.
    """

    def __init__(
        self,
        codec_context: Any,
        packet_order: np.ndarray,
        is_keyframe: np.ndarray,
        has_stamps: bool,
        chosen: Sequence[np.ndarray],
        look: Look,
    ) -> None:
        self._context = codec_context
        self._can_skip = codec_context is not None and codec_context.name in _SKIPPING_DECODERS
        self._has_stamps = has_stamps
        self._chosen = chosen
        self._look = look
        self._file_order = np.argsort(packet_order, kind="stable")
        self._stamps = packet_order[self._file_order]
        self._wanted = {int(i) for indices in chosen for i in indices}
        wanted = np.zeros(len(packet_order), bool)
        wanted[self._file_order[sorted(self._wanted)]] = True
        self._plan = plan_packets(packet_order, is_keyframe, wanted)
        self._looked: dict[int, Any] = {}
        self._position = -1
        self._packets_seen = 0
        self._frames_seen = 0
        self.num_decoded = 0
        self.num_damaged = 0

    def feed(self, packet: av.Packet) -> None:
        """Decodes one packet if a wanted frame needs it; a damaged one is counted, not raised."""
        number = self._packets_seen
        self._packets_seen += 1
        if packet.size and self._has_stamps:
            number = int(self._file_order[self._display_index(packet.pts)])
            if not self._plan.decode[number]:
                return
            if self._can_skip:
                self._context.skip_frame = "DEFAULT" if self._plan.wanted[number] else "NONREF"
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.num_damaged += 1
            return
        for frame in frames:
            self._keep(frame)

    def _display_index(self, stamp: int | None) -> int:
        index = int(np.searchsorted(self._stamps, stamp or 0))
        return min(index, len(self._stamps) - 1)

    def _keep(self, frame: av.VideoFrame) -> None:
        index = self._display_index(frame.pts) if self._has_stamps else self._frames_seen
        self._frames_seen += 1
        self._position = max(self._position, index)
        if index in self._wanted and index not in self._looked:
            try:
                self._looked[index] = self._look(frame)
            except av.error.FFmpegError:  # its pixels are of a kind that cannot be converted
                self.num_damaged += 1
                return
        self.num_decoded += 1

    def passed(self, index: int) -> bool:
        """Whether all wanted frames of a stretch have come by."""
        return len(self._chosen[index]) == 0 or self._position >= self._chosen[index][-1]

    def take(self, index: int) -> tuple[list[Any], np.ndarray]:
        """What `look` made of the frames of a stretch, and their display indices."""
        present = [int(i) for i in self._chosen[index] if int(i) in self._looked]
        looks = [self._looked[i] for i in present]
        later = {int(i) for indices in self._chosen[index + 1 : index + 2] for i in indices}
        for i in present:
            if i not in later:
                del self._looked[i]
        return looks, np.array(present, np.int64)
