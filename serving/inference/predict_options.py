"""What a user may choose for a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy and the transcribers would make the command line slow
    from affectstream.preprocessing.faces.action_units import ActionUnitTable
    from affectstream.preprocessing.speech_to_text.transcript_cache import CachedTranscriber


@dataclass(frozen=True)
class PredictOptions:
    """Options of the prediction for a recording.

    Attributes:
      face: "largest" follows the largest face; "all" also answers for every face on its own.
      window_s, hop_s: length and largest step of the windows in seconds, other than the model's
        own; windows of a user's choice hold 16 frames each (or the model's number), where a
        recording as long as a record is else looked at as `evaluate` does.
      action_units: table of OpenFace, for a model trained on such.
      text: what is said, for a model that knows words.
      transcriber: hears what is said where `text` is None, window by window.
    Raises:
      ValueError: another `face`.
    """

    face: str = "largest"
    window_s: float | None = None
    hop_s: float | None = None
    action_units: ActionUnitTable | None = None
    text: str | None = None
    transcriber: CachedTranscriber | None = None

    def __post_init__(self) -> None:
        if self.face not in ("largest", "all"):
            raise ValueError(f"face must be 'largest' or 'all', received {self.face!r}")
