"""Each benchmark measures something on tiny input and writes the table that it prints."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import pytest

from affectstream.opencv_model.detectors.detector import FaceBox
from benchmarks import inputs, report
from benchmarks.robustness import hostile
from benchmarks.speed import (
    cold_start,
    encoders,
    face_detectors,
    input_wait,
    litert_recipes,
    memory,
    preprocess_speed,
    reading_memory,
    realtime,
    worker_speed,
)
from tests.support import models
from tests.support.tables import printed_rows


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all benchmarks find the same made clips."""
    return tmp_path_factory.mktemp("benchmarks")


# === Each of them, tiny ===


# librosa.load imports audioread, which still imports these.
@pytest.mark.filterwarnings(r"ignore:'(aifc|audioop|sunau)' is deprecated:DeprecationWarning")
def test_preprocess_speed_benchmark_compares_with_opencv(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "names", lambda kind: ("haar",))
    cores, threads = os.sched_getaffinity(0), cv2.getNumThreads()
    out = tmp_path / "table.md"
    assert preprocess_speed.main(["--quick", "--work", str(work), "--out", str(out)]) == 0
    rows = {(row[0], row[1]): row for row in printed_rows(capsys, out)}
    baseline, ours = rows["OpenCV baseline", "every third"], rows["ours, haar", "every third"]
    assert baseline[4] == "1.0"
    assert baseline[6] == "8 / 8", "frames 20 and 23 to 29 of two clips of 30, a face in each"
    assert ours[6] == "8 / 8"
    assert ours[7] == "8 of 8"
    assert rows["ours, haar", "16 in time"][6] == "32 / 32"
    assert rows["decoding alone, OpenCV", "all"][6] == ""
    assert (os.sched_getaffinity(0), cv2.getNumThreads()) == (cores, threads)


def test_worker_speed_benchmark_measures_one_and_two_workers(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.md"
    assert worker_speed.main(["--quick", "--work", str(work), "--out", str(out)]) == 0
    assert [row[0] for row in printed_rows(capsys, out)] == ["1", "2"]


def test_hostile_benchmark_counts_every_file_as_read_or_rejected(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, kept = tmp_path / "table.md", tmp_path / "kept"
    words = ["--quick", "--work", str(work), "--out", str(out), "--save-dir", str(kept)]
    assert hostile.main([*words, "--programs", "preprocess", "tables"]) == 0
    rows = {(row[0], row[1]): row for row in printed_rows(capsys, out) if len(row) > 5}
    for program in ("preprocess", "tables"):
        total = rows[program, "all"]
        assert int(total[2]) == hostile.QUICK_FILES
        assert int(total[3]) + int(total[4]) == hostile.QUICK_FILES, "read or rejected"
        listed = (kept / program / "outcomes.tsv").read_text("utf-8").splitlines()
        assert len(listed) == int(total[-1])


def test_memory_benchmark_shows_that_long_clips_need_no_more(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.md"
    assert memory.main(["--quick", "--work", str(work), "--out", str(out)]) == 0
    for name, short_mib, long_mib, *_ in printed_rows(capsys, out):
        assert name in ("decoding and faces", "windows")
        assert 40 < float(short_mib) < 200
        assert float(long_mib) < 1.2 * float(short_mib)


def test_reading_memory_benchmark_measures_kept_and_read_anew(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.md"
    assert reading_memory.main(["--quick", "--work", str(work), "--out", str(out)]) == 0
    kept, anew = printed_rows(capsys, out)
    assert (kept[0], anew[0]) == ("kept", "read anew")
    assert all(float(row[1]) > 100 for row in (kept, anew))


def test_realtime_benchmark_divides_the_time_into_parts(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "names", lambda kind: ("haar",))
    out = tmp_path / "table.md"
    assert realtime.main(["--quick", "--work", str(work), "--out", str(out)]) == 0
    (row,) = printed_rows(capsys, out)
    whole, *parts = map(float, row[4:8])
    assert row[0] == "haar"
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(whole, abs=2)


def test_encoders_benchmark_has_a_row_for_each_encoder_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.md"
    some = ["relu_cnn", "conv1d", "action_units"]
    assert encoders.main(["--quick", "--out", str(out), *some]) == 0
    rows = printed_rows(capsys, out)
    assert [row[0] for row in rows] == some
    assert all(float(cell) > 0 for row in rows for cell in row[3:])


def test_input_wait_benchmark_tells_shares_of_both_recipes_and_of_a_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = models.write_data(tmp_path / "data", models.records())
    history = tmp_path / "past" / "history.csv"
    history.parent.mkdir()
    history.write_text("epoch,input_wait_share\n1,0.02\n2,0.125\n", "utf-8")
    out = tmp_path / "table.md"
    words = ["--quick", "--audio-data", str(data), "--video-data", str(data), "--out", str(out)]
    assert input_wait.main([*words, "--history", str(history)]) == 0
    rows = printed_rows(capsys, out)
    assert [(row[0], row[1]) for row in rows] == [("relu-cnn-audio", "7"), ("elu-cnn-video", "21")]
    for row in rows:
        without, with_first = (float(cell.rstrip("%")) for cell in row[4:6])
        assert 0 <= without < with_first <= 100
    text = out.read_text("utf-8")
    for recipe in ("relu-cnn-audio", "elu-cnn-video"):
        assert f"| {recipe} | left out | 1 |" in text
        assert f"| {recipe} | at work | 1 |" in text
    assert "| past | 2 | 7.25% (2.00% to 12.50%) | **missed** |" in text


def test_face_detectors_benchmark_writes_its_table(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "names", lambda kind: ("haar",))
    out = tmp_path / "table.md"
    small = tmp_path / "small"
    small.mkdir()
    clips, _ = inputs.clips(work, is_quick=True)
    (frame,) = face_detectors.pictures(clips[0].path, 1)
    cv2.imwrite(str(small / "drawn.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    words = ["--quick", "--work", str(work), "--out", str(out), "--pictures", str(small)]
    assert face_detectors.main(words) == 0
    rows = printed_rows(capsys, out)
    few_pixels = out.read_text("utf-8").splitlines()[-1].strip("| ").split(" | ")
    assert few_pixels == ["haar", "1", "1", "1", "1", "0", "1"]
    assert [row[0] for row in rows] == ["haar", face_detectors.FULL_HAAR]
    assert [(row[2], row[5]) for row in rows] == [("2 / 2", "16 / 16")] * 2


def test_cold_start_benchmark_tells_name_form_and_times(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.md"
    assert cold_start.main([str(exported), "--quick", "--out", str(out)]) == 0
    ((name, form, *times),) = printed_rows(capsys, out)
    assert (name, form, times[3]) == (exported.name, "SavedModel", "")
    assert 0.5 < float(times[0]) == float(times[1]) < 120


def test_runs_of_a_folder(audio_run: Path, tmp_path: Path) -> None:
    below = sorted(file.parent for file in audio_run.parent.glob("*/run.json"))
    assert audio_run in below
    assert litert_recipes.runs_below([audio_run.parent]) == below
    assert litert_recipes.runs_below([audio_run, tmp_path]) == [audio_run, tmp_path]


# === What they rest on ===


def test_a_long_video_plays_through(work: Path) -> None:
    source = inputs.clips(work, is_quick=True)[0][0]
    path = inputs.long_video(source, work, inputs.QUICK, 5.0)
    with av.open(str(path)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    assert len(times) == 5 * inputs.QUICK.fps
    assert times == sorted(times)
    assert times[-1] == pytest.approx(5, abs=0.2)


def test_agreement_counts_frames_where_both_find_a_face() -> None:
    face, near, far = FaceBox(0, 0, 10, 10, 1), FaceBox(0, 0, 10, 8, 1), FaceBox(9, 9, 10, 10, 1)
    baseline = preprocess_speed.Method("a", "", lambda clip: None, boxes=[[face, face, None, face]])
    ours = preprocess_speed.Method("b", "", lambda clip: None, boxes=[[near, far, face, None]])
    assert preprocess_speed.agreement(baseline, ours) == "1 of 2"


def test_a_ratio_is_the_median_over_the_rounds() -> None:
    assert preprocess_speed.ratio([10, 30, 12], [1, 1, 1]) == 12


def test_a_missed_target_is_said() -> None:
    fast = preprocess_speed.Method("ours, yunet", "16 in time", lambda clip: None, wall_s=[1.0])
    slow = preprocess_speed.Method("ours, haar", "16 in time", lambda clip: None, wall_s=[2.0])
    baseline = preprocess_speed.Method("b", "every third", lambda clip: None, wall_s=[12.0])
    assert preprocess_speed.verdicts([baseline, fast, slow]).splitlines() == [
        "- Target 10x with the fastest detector: yunet 12.0x, met.",
        "- Target 8x with haar: 6.0x, **missed**.",
    ]


def test_the_launcher_keeps_the_peak_of_the_parent_out(tmp_path: Path) -> None:
    held = bytearray(400 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    small = memory.run(["-S", "-c", "pass"])
    large = memory.run(["-S", "-c", "b = bytearray(100 * 2**20); b[::4096] = b'x' * 25600"])
    assert small.peak_mib < 50
    assert 100 < large.peak_mib < 150
    assert len(held) > 0


def test_a_failed_process_says_why() -> None:
    with pytest.raises(RuntimeError, match="broken on purpose"):
        memory.run(["-c", "raise ValueError('broken on purpose')"])


def test_the_command_leaves_out_where_things_are_kept() -> None:
    text = report.publish("T", "memory", ["--out", "a", "--quick", "--work=b"], "m", [])
    assert "`python -m benchmarks.speed.memory --quick`" in text
