"""Share of a recording's audio and frames that could be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Codecs add up to one packet of padding at either end; this much missing audio is no loss.
AUDIO_LOSS_TOLERANCE_S = 0.15


@dataclass(frozen=True)
class Completeness:
    """Expected and decoded amounts of audio and frames, for one segment or a sum of several.

    Attributes:
      sound_s: seconds of sound that were decoded.
      promised_sound_s: seconds for which the container holds, or states, sound.
      num_frames: requested frames that were decoded without an error reported by the decoder.
      num_wanted_frames: all frames that were wanted.
    """

    sound_s: float = 0.0
    promised_sound_s: float = 0.0
    num_frames: int = 0
    num_wanted_frames: int = 0

    def __add__(self, other: Completeness) -> Completeness:
        return Completeness(
            self.sound_s + other.sound_s,
            self.promised_sound_s + other.promised_sound_s,
            self.num_frames + other.num_frames,
            self.num_wanted_frames + other.num_wanted_frames,
        )

    @property
    def has_lost_sound(self) -> bool:
        return self.promised_sound_s - self.sound_s > AUDIO_LOSS_TOLERANCE_S

    @property
    def has_lost_frames(self) -> bool:
        return self.num_frames < self.num_wanted_frames

    @property
    def share(self) -> float:
        """The lesser of the shares of sound and of frames that were decoded; 1.0 for all."""
        shares = [1.0]
        if self.has_lost_sound:
            shares.append(self.sound_s / self.promised_sound_s)
        if self.has_lost_frames:
            shares.append(self.num_frames / self.num_wanted_frames)
        return min(shares)

    def lines(self, sound: bool = True, frames: bool = True) -> Iterator[str]:
        """Yields one line for each stream with losses; nothing if everything was decoded."""
        if sound and self.has_lost_sound:
            yield (f"{self.sound_s:.1f} of {self.promised_sound_s:.1f} s of sound could be decoded")
        if frames and self.has_lost_frames:
            yield (
                f"{self.num_frames} of {self.num_wanted_frames} frames looked at could be decoded"
                " without damage"
            )
