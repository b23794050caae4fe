"""Options of a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing numpy and the transcribers would slow down the command line
    from affectstream.preprocessing.faces.action_units import ActionUnitTable
    from affectstream.preprocessing.speech_to_text.transcript_cache import CachedTranscriber


@dataclass(frozen=True)
class PredictOptions:
    """Options of the prediction for a recording.

    Attributes:
      face: "largest" follows the largest face; "all" also predicts for every face separately.
      window_s, hop_s: length and largest step of the windows in seconds, in place of the model's;
        such windows hold 16 frames each (or the model's number), whereas a recording as long as a
        record is otherwise read as `evaluate` does.
      action_units: OpenFace table, for a model trained on such tables.
      text: transcript, for a model with a text stream.
      transcriber: transcribes window by window if `text` is None.
    Raises:
      ValueError: another value of `face`.
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
