"""The score that is published is the one that users get: `evaluate` and `predict` answer alike."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectstream.modeling.evaluation.evaluate import PREDICTIONS, evaluate
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.serving import load
from affectstream.serving.bundled import bundled_models
from affectstream.serving.inference.prediction import Prediction
from benchmarks.accuracy import same_answer
from tests.serving.inference.test_predict import pictures_of
from tests.support.factories import preprocess, sample_source, write_media, write_sound
from tests.support.models import LABELS, run

pytestmark = pytest.mark.slow

RATE_HZ = 48_000
FAST = {"preset": "ultrafast"}
Answers = dict[str, tuple[str, np.ndarray]]


def voice(duration_s: float, seed: int = 0) -> np.ndarray:
    """(samples,) float32 at 48 kHz: another pitch and loudness each half second, in noise."""
    rng = np.random.default_rng(seed)
    at_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    place = (at_s / 0.5).astype(int)
    pitch, level = rng.uniform(100, 1500, place.max() + 1), rng.uniform(0.05, 0.5, place.max() + 1)
    wave = level[place] * np.sin(2 * np.pi * np.cumsum(pitch[place]) / RATE_HZ)
    return np.asarray(wave + 0.01 * rng.standard_normal(len(at_s)), np.float32)


def silent_from(wave: np.ndarray, start_s: float, end_s: float = 60.0) -> np.ndarray:
    wave = wave.copy()
    wave[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)] = 0
    return wave


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of 0.5 to 9.9 s, each as long as one record at most, with their table."""
    out = tmp_path_factory.mktemp("recordings")
    faces = [pictures_of(path) for path in sorted(sample_source().rglob("*.mp4"))[::4]]
    grey = np.full_like(faces[0][0], 128)

    def film(seconds: float, seed: int) -> list[np.ndarray]:
        """25 pictures a second, another face every second."""
        count = round(seconds * 25)
        return [faces[(seed + k // 25) % len(faces)][k % len(faces[0])] for k in range(count)]

    for seed, seconds in enumerate((0.5, 1.7, 3.0, 4.4, 4.6, 6.1, 7.9, 9.9)):
        sound = voice(seconds, seed)
        name = f"both-{seconds:g}.mp4"
        write_media(out / name, film(seconds, seed), options=FAST, waveform=sound)
    eight = film(8, 1)
    jingle = silent_from(voice(8, 3), 0.57)
    half_grey = eight[:90] + [grey] * 110
    slides = [faces[k][5] for k in range(4)]
    write_media(out / "jingle.mp4", eight, options=FAST, waveform=jingle)
    write_media(out / "mute.mp4", eight, options=FAST)
    write_media(out / "silent.mp4", eight[:130], options=FAST, waveform=0 * voice(5.2))
    write_media(out / "leaves.mp4", half_grey, options=FAST, waveform=voice(8, 4))
    write_media(out / "noface.mp4", [grey] * 180, options=FAST, waveform=voice(7.2, 5))
    write_media(out / "slides.mp4", slides, [0, 3.9, 4, 8], options=FAST, waveform=voice(8.5, 6))
    late = voice(5, 7)
    write_media(out / "late.mp4", film(7, 2), options=FAST, waveform=late, audio_start_s=2.0)
    write_sound(out / "loud.wav", 3 * voice(9.3, 8), RATE_HZ, "FLOAT")
    write_sound(out / "pause.wav", silent_from(voice(9.0, 9), 2.0, 7.5), RATE_HZ)
    write_sound(out / "faint.wav", np.float32(1e-4) * voice(6.0, 10), RATE_HZ, "FLOAT")
    table = ["path,label,speaker"]
    table += [f"{p.name},{LABELS[i % 7]},p{i}" for i, p in enumerate(sorted(out.iterdir()))]
    (out / "manifest.csv").write_text("\n".join(table) + "\n")
    return out


@pytest.fixture(scope="module")
def prepared(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as records, as the runs of these tests were trained on."""
    out = tmp_path_factory.mktemp("prepared") / "data"
    words = ("--detector", "haar", "--num-frames", "4", "--face-size", "32")
    assert preprocess("manifest", recordings, out, *words) == 3
    return out


def evaluated(model: Path, data: Path, out: Path, only: str = "") -> Answers:
    """File name -> label and (classes,) probabilities by `evaluate`."""
    evaluate(model, [open_data_folder(data)], "all", out, only_stream=only)
    with open(out / PREDICTIONS, newline="", encoding="utf-8") as file:
        return {
            Path(row["id"]).name: (row["predicted"], np.array([float(row[k]) for k in LABELS]))
            for row in csv.DictReader(file)
        }


def require_same(
    answers: Answers, ask: Callable[[Path], Prediction], recordings: Path, within: float = 1e-5
) -> None:
    for name, (label, probabilities) in answers.items():
        told = ask(recordings / name)
        given = np.array([told.probabilities[k] for k in LABELS])
        assert np.abs(given - probabilities).max() < within, name
        assert told.label == label, name


@pytest.fixture(scope="module")
def answers(fusion_run: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return evaluated(fusion_run, prepared, tmp_path_factory.mktemp("scores"))


def test_a_run_answers_as_evaluate_does(
    fusion_run: Path, recordings: Path, answers: Answers
) -> None:
    assert len(answers) == 17  # `faint.wav` is silence
    recognizer = load(fusion_run)
    require_same(answers, recognizer, recordings)
    lengths = {"both-3.mp4": 1, "both-4.6.mp4": 2, "both-9.9.mp4": 6}
    assert {name: len(recognizer(recordings / name).windows) for name in lengths} == lengths


def test_an_export_answers_as_evaluate_does(
    exported: Path, recordings: Path, answers: Answers
) -> None:
    require_same(answers, load(exported), recordings)


def test_a_tflite_answers_as_evaluate_does(
    fusion_run: Path, recordings: Path, answers: Answers, tmp_path: Path
) -> None:
    out = tmp_path / "m.tflite"
    assert run("export", "--run", fusion_run, "--format", "litert", "--out", out) == 0
    require_same(answers, load(out), recordings, within=1e-4)


def test_a_run_of_one_stream_answers_as_evaluate_does(
    audio_run: Path, video_run: Path, recordings: Path, prepared: Path, tmp_path: Path
) -> None:
    for stream, model in (("audio", audio_run), ("video", video_run)):
        told = evaluated(model, prepared, tmp_path / stream)
        require_same(told, load(model), recordings)


def test_of_a_fusion_one_stream(
    fusion_run: Path, recordings: Path, prepared: Path, tmp_path: Path
) -> None:
    """As `crossval` asks it: the other stream is missing."""
    told = evaluated(fusion_run, prepared, tmp_path / "audio", "audio")
    assert set(told) > {"pause.wav", "noface.mp4"}
    alone = {name: told[name] for name in ("loud.wav", "pause.wav", "noface.mp4")}
    require_same(alone, load(fusion_run), recordings)


# === A stream that covers little of a window ===


def test_a_jingle_does_not_overrule_a_face(
    fusion_run: Path, recordings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    jingle, mute = (load(fusion_run)(recordings / f"{name}.mp4") for name in ("jingle", "mute"))
    assert jingle.sound_coverage == pytest.approx(0.6 / 8, abs=0.01)
    assert mute.sound_coverage is None
    assert jingle.windows[0].sound_coverage == pytest.approx(0.6 / 3.486, abs=0.02)
    assert {window.sound_coverage for window in jingle.windows[1:]} == {0.0}
    assert set(jingle.streams) == {"video"}
    assert jingle.probabilities == pytest.approx(mute.probabilities, abs=1e-6)
    assert jingle.warnings == ("sound in less than 40% of each window: answered without audio",)
    assert run("predict", recordings / "jingle.mp4", "--model", fusion_run) == 0
    assert jingle.speech_share is not None and 0 < jingle.speech_share < 0.005
    covered = f", sound {jingle.sound_coverage:.0%}, speech less than 1%)"
    assert covered in capfd.readouterr().out


def test_a_stream_may_count_in_some_windows(fusion_run: Path, recordings: Path) -> None:
    answer = load(fusion_run)(recordings / "leaves.mp4")
    counted = [set(window.streams) for window in answer.windows]
    assert counted[0] == {"audio", "video"}
    assert counted[-1] == {"audio"}
    assert answer.face_coverage == 0.5
    assert answer.sound_coverage == pytest.approx(1.0, abs=0.01)


def test_alone_a_short_sound_may_answer(fusion_run: Path, recordings: Path, tmp_path: Path) -> None:
    sound = silent_from(voice(8, 3), 0.57)
    answer = load(fusion_run)(write_sound(tmp_path / "jingle.wav", sound, RATE_HZ))
    assert set(answer.streams) == {"audio"}
    assert len(answer.windows) == 1  # the others are silent
    assert "4 windows without sound or face are left out" in answer.warnings
    sparse = "sound in less than 40% of each window: the voice answer means little"
    assert sparse in answer.warnings
    for name in ("pause.wav", "noface.mp4", "jingle.mp4"):  # more sound, or a face beside it
        assert sparse not in load(fusion_run)(recordings / name).warnings


# === One stream there, one answer ===


def test_alone_a_stream_says_what_the_model_says(
    fusion_run: Path, exported: Path, recordings: Path
) -> None:
    for model in (fusion_run, exported):
        recognizer = load(model)
        for name in ("mute.mp4", "noface.mp4", "pause.wav"):
            answer = recognizer(recordings / name)
            (alone,) = answer.streams.values()
            assert alone == pytest.approx(answer.probabilities, abs=1e-6)
            for window in answer.windows:
                (alone,) = window.streams.values()
                assert alone == pytest.approx(window.probabilities, abs=1e-6)


def test_a_note_where_predict_reads_otherwise(
    video_run: Path, prepared: Path, tmp_path: Path
) -> None:
    """Faces cut with another margin, or by another detector, are scored and told of."""
    data = open_data_folder(prepared)
    assert evaluate(video_run, [data], "all", tmp_path / "same")["notes"] == []
    own = data.settings["preparation"]
    changed = own | {"detector": "yunet", "face": own["face"] | {"margin": 0.3}}
    other = replace(data, settings=data.settings | {"preparation": changed})
    notes = evaluate(video_run, [other], "all", tmp_path / "other")["notes"]
    assert notes == [
        f"{data.path}: faces cut with --face-margin 0.3, where `predict` with this model takes 0.1",
        f"{data.path}: faces found by yunet, where `predict` with this model haar finds them",
    ]


# === Real recordings ===


@pytest.mark.real
def test_the_bundled_model_on_real_speech(real_data: Path, tmp_path: Path) -> None:
    """Twelve clips of an actor whom it has not met."""
    if not bundled_models.is_bundled_model(bundled_models.EMOTION):
        pytest.skip("pretrained/emotion is not in the box")
    clips = sorted((real_data / "ravdess").glob("Actor_17/03-01-*"))[::5]
    if not clips:
        pytest.skip(f"no recordings of RAVDESS in {real_data}")
    for clip in clips:
        (tmp_path / "in" / "Actor_17").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "Actor_17" / clip.name).symlink_to(clip)
    words = ("--face-size", "48", "--face-margin", "0")
    assert preprocess("ravdess", tmp_path / "in", tmp_path / "data", *words) == 0
    run_folder = bundled_models.bundled_model_path(bundled_models.EMOTION)
    data = open_data_folder(tmp_path / "data")
    answers = same_answer.predict_both_ways(run_folder, data, tmp_path / "in", "all")
    assert len(answers.truth) == len(clips)
    assert answers.num_other_labels == 0
    assert answers.largest < 2e-3  # rounding of a batch, where a window is nearly silent
