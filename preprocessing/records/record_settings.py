"""The settings that change the records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.faces.action_units import ActionUnitSpec
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.speech_to_text.transcript_cache import DEFAULT_LANGUAGE

# Share of a clip that must be decodable; a file that lacks more than a twentieth counts as
# truncated.
MIN_DECODED_SHARE = 0.95


@dataclass(frozen=True)
class RecordSettings:
    """Everything that changes the records; stored in `preprocess.json`.

    Attributes:
      detector: name of the face detector, or "none" if every image is a face already.
      max_clip_s: a longer clip becomes consecutive records of one recording, of equal length.
      action_units: contents of the video stream instead of face crops; None for face crops.
      transcriber: name of the transcriber for missing transcripts, "" for none; `language` is its
        language.
      min_decoded_share: a clip is rejected if a smaller share of its audio or sampled frames could
        be decoded, or if its file holds a smaller share of the header's duration.
    """

    detector: str
    sampling: FrameSampling = field(default_factory=FrameSampling)
    face: CropFormat = field(default_factory=lambda: CropFormat(112, "grey"))
    sample_rate_hz: int = 16000
    max_clip_s: float = 10.0
    action_units: ActionUnitSpec | None = None
    transcriber: str = ""
    language: str = DEFAULT_LANGUAGE
    min_decoded_share: float = MIN_DECODED_SHARE

    def as_json(self) -> dict[str, Any]:
        value = {
            "detector": self.detector,
            "sampling": asdict(self.sampling),
            "face": asdict(self.face),
            "sample_rate_hz": self.sample_rate_hz,
            "max_clip_s": self.max_clip_s,
        }
        if self.action_units is not None:
            value["action_units"] = self.action_units.as_json()
        if self.transcriber:
            value |= {"transcriber": self.transcriber, "language": self.language}
        if self.min_decoded_share != MIN_DECODED_SHARE:
            value["min_decoded_share"] = self.min_decoded_share
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RecordSettings:
        read: dict[str, Any] = {
            "sampling": FrameSampling(**value["sampling"]),
            "face": CropFormat(**value["face"]),
        }
        if value.get("action_units") is not None:
            read["action_units"] = ActionUnitSpec.from_json(value["action_units"])
        return cls(**{**value, **read})
