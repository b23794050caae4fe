"""Chooses among several audio or video tracks of a file, as media players do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import av
import av.error
import numpy as np

from affectstream.preprocessing.media.audio.channels import deinterleave, downmix, downmix_weights

# Codecs of still images: beside another track, such a track is a cover or a preview.
_STILL_CODECS = frozenset(["png", "apng", "mjpeg", "bmp", "tiff", "webp", "gif", "jpeg2000"])
# Below this peak (-80 dB of full scale) a track is silent, as in records.
_SILENCE_PEAK = 1e-4
# A track is judged by its first audible seconds, searched at the beginning of the file.
_AUDIBLE_S, _JUDGED_WITHIN_S = 10.0, 60.0
# Less is enough if the mix keeps at least this share of the loudest channel's energy.
_CLEARLY_AUDIBLE_S, _KEPT_SHARE = 1.0, 0.2
# Below this share of the loudest channel's energy, the channels cancel out in a mix.
_CANCELLED_SHARE = 0.1


@dataclass(frozen=True)
class ChosenTracks:
    """The chosen streams; None if there is none.

    Attributes:
      notes: remarks about a file with several tracks.
    """

    audio: Any
    video: Any
    notes: tuple[str, ...]


def choose_tracks(container: Any, reopen: Callable[[], Any]) -> ChosenTracks:
    """Chooses the default or best track of each kind; skips completely silent audio.

    Args:
      container: an open file; it is not read.
      reopen: opens the file again; called only for several audio tracks.
    """
    # Streams of an unknown codec are ignored.
    videos = [s for s in container.streams.video if s.codec_context and not is_cover(s)]
    moving = [s for s in videos if s.codec_context.name not in _STILL_CODECS]
    video = _best(container, "video", moving or videos)
    sounds = [s for s in container.streams.audio if s.codec_context]
    first = _best(container, "audio", sounds)
    audio = _first_heard([first, *(s for s in sounds if s is not first)], reopen)
    notes = [_note("sound", sounds, audio), _note("video", videos, video)]
    if audio is not first:
        notes[0] += f", number {sounds.index(first) + 1} is silent throughout"
    return ChosenTracks(audio, video, tuple(note for note in notes if note))


def _note(kind: str, streams: Sequence[Any], used: Any) -> str:
    if len(streams) < 2:
        return ""
    return f"{len(streams)} {kind} tracks: number {streams.index(used) + 1} is used"


def _best(container: Any, kind: str, streams: Sequence[Any]) -> Any:
    """Like players: the default track first, then the one with more frames and bits."""
    best = container.streams.best(kind) if len(streams) > 1 else None
    return best if best in streams else next(iter(streams), None)


def is_cover(stream: Any) -> bool:
    """Whether a video stream is only the cover image of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _first_heard(streams: Sequence[Any], reopen: Callable[[], Any]) -> Any:
    """The first audible stream; else the first."""
    for stream in streams if len(streams) > 1 else ():
        heard = _Energies(is_only=False)
        with contextlib.suppress(av.error.FFmpegError, OSError, IndexError), reopen() as container:
            heard.listen(container.demux(container.streams[stream.index]))
        if heard.peak >= _SILENCE_PEAK:
            return stream
    return streams[0]


def find_phase_safe_channel(packets: Iterable[Any]) -> int | None:
    """The loudest channel if the channels cancel each other in a downmix, else None.

    Decided once per file, so that all segments are read alike: by its first audible second if the
    mix is intact, else by the first ten seconds.

    Args:
      packets: of the audio stream, from its beginning; only as many as necessary are read.
    """
    heard = _Energies(is_only=True)
    with contextlib.suppress(av.error.FFmpegError, OSError, IndexError):
        heard.listen(packets)
    return heard.channel()


class _Energies:
    """Energies of the channels of a stream, and of their mix.

    Args:
      is_only: whether there is no other stream, so that silence does not matter.
    """

    def __init__(self, is_only: bool) -> None:
        self.peak = 0.0
        self._is_only = is_only
        self._mix = 0.0
        self._channels: np.ndarray = np.zeros(0)
        self._weights: np.ndarray = np.zeros(0)

    def listen(self, packets: Iterable[Any]) -> None:
        """Decodes until enough is audible; a silent stream among several is decoded to its end."""
        judged_s = audible_s = 0.0
        resampler, kind = None, None
        for packet in packets:
            with contextlib.suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    if frame.sample_rate <= 0:
                        return
                    if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                        resampler = av.AudioResampler(format="flt")
                    judged_s += frame.samples / frame.sample_rate
                    audible_s += self._add(resampler, frame)
            is_judged = judged_s >= _JUDGED_WITHIN_S and (self.peak > 0 or self._is_only)
            is_kept = audible_s >= _CLEARLY_AUDIBLE_S and self._mix >= _KEPT_SHARE * self._loudest
            if audible_s >= _AUDIBLE_S or is_judged or is_kept:
                return

    def _add(self, resampler: Any, frame: Any) -> float:
        """Adds a frame; returns its audible seconds."""
        seconds, rate_hz = 0.0, frame.sample_rate
        weights = downmix_weights(frame.layout)
        for whole in resampler.resample(frame):
            by_channel = deinterleave(whole)
            peak = float(np.abs(by_channel).max(initial=0.0))
            self.peak = max(self.peak, peak if np.isfinite(peak) else 0.0)
            if not _SILENCE_PEAK <= peak < np.inf or (len(self._channels) not in (0, len(weights))):
                continue
            energies = np.square(by_channel.astype(np.float64)).sum(axis=1)
            self._channels = energies + (self._channels if len(self._channels) else 0.0)
            self._weights = weights
            self._mix += float(np.square(downmix(by_channel, weights).astype(np.float64)).sum())
            seconds += by_channel.shape[1] / max(rate_hz, 1)
        return seconds

    @property
    def _loudest(self) -> float:
        return float(self._channels.max(initial=0.0, where=self._weights > 0))

    def channel(self) -> int | None:
        """The loudest channel if the mix loses nearly all of it; None if it does not."""
        if len(self._channels) < 2 or self._mix >= _CANCELLED_SHARE * self._loudest:
            return None
        return int(np.where(self._weights > 0, self._channels, 0.0).argmax())
