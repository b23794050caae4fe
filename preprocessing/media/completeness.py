"""Share of a recording's audio and frames that could be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Codecs add up to one packet of padding at either end; this much missing audio is not a loss.
AUDIO_LOSS_TOLERANCE_S = 0.15


@dataclass(frozen=True)
class Completeness:
    """Expected and decoded amounts of audio and frames, for one segment or a sum of several.

    Attributes:
      decoded_audio_s: seconds of decoded audio.
      expected_audio_s: seconds of audio in the container or its header.
      num_frames: requested frames that were decoded without an error reported by the decoder.
      num_wanted_frames: all requested frames.
    """

    decoded_audio_s: float = 0.0
    expected_audio_s: float = 0.0
    num_frames: int = 0
    num_wanted_frames: int = 0

    def __add__(self, other: Completeness) -> Completeness:
        return Completeness(
            self.decoded_audio_s + other.decoded_audio_s,
            self.expected_audio_s + other.expected_audio_s,
            self.num_frames + other.num_frames,
            self.num_wanted_frames + other.num_wanted_frames,
        )

    @property
    def has_lost_audio(self) -> bool:
        return self.expected_audio_s - self.decoded_audio_s > AUDIO_LOSS_TOLERANCE_S

    @property
    def has_lost_frames(self) -> bool:
        return self.num_frames < self.num_wanted_frames

    @property
    def decoded_share(self) -> float:
        """The smaller of the decoded shares of audio and of frames; 1.0 for all."""
        shares = [1.0]
        if self.has_lost_audio:
            shares.append(self.decoded_audio_s / self.expected_audio_s)
        if self.has_lost_frames:
            shares.append(self.num_frames / self.num_wanted_frames)
        return min(shares)

    def loss_messages(self, sound: bool = True, frames: bool = True) -> Iterator[str]:
        """Yields one line for each stream with losses; nothing if everything was decoded."""
        if sound and self.has_lost_audio:
            yield (
                f"{self.decoded_audio_s:.1f} of {self.expected_audio_s:.1f} s of sound could be"
                " decoded"
            )
        if frames and self.has_lost_frames:
            yield (
                f"{self.num_frames} of {self.num_wanted_frames} frames looked at could be decoded"
                " without damage"
            )
