"""Faces that a detector finds in pictures, cut out with more or less around them: who is right?

Pictures that are faces already are enlarged, their edge is drawn out, a detector looks for the
face, and the model is asked about what is cut out. Only pictures that validate are read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.opencv_model.detectors.detector import FaceBox, FaceDetector
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from benchmarks import report
from benchmarks.accuracy.classical import records_of
from benchmarks.robustness.robustness import face_picture, squeezed

MARGINS = (0.0, 0.05, 0.1, 0.2)
ROWS_A_STEP = 256
COLUMNS = ("detector", "found", "margin", "right", "taken whole", "label kept, JPEG 30")


def rows_of(
    name: str,
    detector: FaceDetector,
    pictures: Sequence[np.ndarray],
    changed: Sequence[np.ndarray],
    whole: np.ndarray,
    truth: np.ndarray,
    answer: Any,
) -> list[tuple[str, ...]]:
    """One row per margin; all rows of a detector use the same images.

    Args:
      pictures, changed: (H, W, 3) uint8 RGB, the second ones after JPEG.
      whole: (pictures,) int, the answers about the pictures as they were prepared.
      truth: (pictures,) int.
      answer: faces (N, size, size, C) uint8 -> classes (N,) int.
    """
    found: dict[int, tuple[FaceBox, FaceBox]] = {}
    for i, both in enumerate(zip(pictures, changed, strict=True)):
        faces = [box for picture in both for box in detector.detect(picture)[:1]]
        if len(faces) == len(both):
            found[i] = (faces[0], faces[1])
    asked = list(found)
    rows = []
    for margin in MARGINS:
        form = CropFormat(48, "grey", margin)
        plain, after = (
            answer(np.stack([form.crop(shown[i], found[i][use]) for i in asked]))
            for use, shown in enumerate((pictures, changed))
        )
        shares = (plain == truth[asked], whole[asked] == truth[asked], plain == after)
        told = (f"{share.mean():.3f}" for share in shares)
        rows.append((name, f"{len(asked)} of {len(pictures)}", f"{margin:g}", *told))
    return rows


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    options = report.parser(__doc__, has_quick=False, section="crop-margin")
    options.add_argument("run", type=Path, help="a run of faces of 48 px, grey")
    options.add_argument("--data", type=Path, required=True, help="the same, prepared")
    options.add_argument("--pictures", type=int, default=1500)
    chosen = options.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.modeling.evaluation.inference import inference_model, load_run

    machine = report.machine()
    with report.user_errors():
        model, info = load_run(chosen.run)
        data = open_data_folder(chosen.data)
    network, labels = inference_model(model, info), list(info.labels)
    rows_of_part = [row for row in data.subset("validation") if row.label in labels]
    drawn = np.random.default_rng(0).permutation(len(rows_of_part))[: chosen.pictures]
    records = list(records_of(data, [rows_of_part[i] for i in drawn]))

    def answer(faces: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(faces), ROWS_A_STEP):
            video = faces[start : start + ROWS_A_STEP, None]
            mask = np.ones(video.shape[:2], bool)
            said = network({"video": video, "video_mask": mask}, training=False)
            found.append(np.argmax(said["probabilities"].numpy(), axis=1))
        return np.concatenate(found)

    truth = np.array([labels.index(record.label) for record in records])
    whole = answer(np.stack([record.faces[0] for record in records]))
    pictures = [face_picture(record.faces[0]) for record in records]
    changed = [squeezed(picture) for picture in pictures]
    rows = []
    for name, detector in report.detectors_present(chosen.weights_dir).items():
        rows += rows_of(name, detector, pictures, changed, whole, truth, answer)
    note = (
        f"{len(records)} pictures of `{data.path.name}` that validated, whole right on"
        f" {np.mean(whole == truth):.3f}: enlarged, their edge drawn out, the face looked for and"
        " cut out with so much of its longer side added all around. `right`: of those in which one"
        " is found, also after JPEG; `taken whole`: the same ones, not cut out."
    )
    parts = [note, report.table(COLUMNS, rows)]
    report.publish("How much around a face", "crop_margin", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
