"""FER2013 as folder, zip and CSV: labels, the official split, and its duplicates."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from affectstream.core import registry
from affectstream.core.errors import EXIT_OK, EXIT_PARTIAL, MediaError, UserError
from affectstream.preprocessing.clip import Clip, CorpusIndex
from affectstream.preprocessing.dataset.data_folder import DataFolder, open_data_folder
from affectstream.preprocessing.media.video.still_images import is_still_image, read_still_image
from tests.support.factories import preprocess

CSV_NAMES = ("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral")
FOLDERS = {"fearful": "fear", "surprised": "surprise"}


def picture(number: int) -> np.ndarray:
    """(48, 48) uint8, another one for each number."""
    return np.random.default_rng(number).integers(0, 256, (48, 48)).astype(np.uint8)


# (part, label, number of the picture): 3 is in training and test, 4 twice in training,
# 5 in training under two labels, 6 twice in the test, 7 in the test under two labels.
ITEMS = [
    *((("Training", "happy", n)) for n in (1, 2, 3, 4, 4)),
    *((("Training", "sad", n)) for n in (8, 9, 10)),
    ("Training", "angry", 5),
    ("Training", "fearful", 5),
    *((("PublicTest", "sad", n)) for n in (3, 6, 6, 7, 11)),
    ("PublicTest", "neutral", 7),
]


def encoded(number: int) -> bytes:
    return cv2.imencode(".png", picture(number))[1].tobytes()


def named_items() -> dict[str, bytes]:
    return {
        f"{part}/{FOLDERS.get(label, label)}/{place}.png": encoded(number)
        for place, (part, label, number) in enumerate(ITEMS)
    }


def as_folder(path: Path) -> Path:
    for name, data in named_items().items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in named_items().items():
            archive.writestr(name, data)
    return path


def csv_row(part: str, label: str, number: int) -> str:
    pixels = " ".join(map(str, picture(number).ravel()))
    return f"{CSV_NAMES.index(label)},{pixels},{part}"


def as_csv(path: Path) -> Path:
    path.write_text("\n".join(["emotion,pixels,Usage", *(csv_row(*item) for item in ITEMS)]))
    return path


FORMS = {"folder": as_folder, "zip": as_zip, "csv": as_csv}


def source(form: str, folder: Path) -> Path:
    return FORMS[form](folder / f"fer2013{'.' + form if form != 'folder' else ''}")


def inventory(path: Path) -> CorpusIndex:
    return registry.load("corpora", "fer2013").build_index(path)


def prepare(path: Path, out: Path) -> int:
    return preprocess("fer2013", path, out)


# === The three forms ===


@pytest.mark.parametrize("form", FORMS)
def test_labels_parts_and_pixels(form: str, tmp_path: Path) -> None:
    found = inventory(source(form, tmp_path))
    assert not found.rejected

    def shown(clip: Clip) -> tuple[str, str, bytes]:
        assert is_still_image(clip)
        pixels = read_still_image(clip)
        assert pixels.shape == (48, 48, 3)
        return clip.split, clip.label, pixels[..., 1].tobytes()

    wanted = [
        ({"Training": "train", "PublicTest": "test"}[part], label, picture(number).tobytes())
        for part, label, number in ITEMS
    ]
    assert sorted(map(shown, found.clips)) == sorted(wanted)
    assert {clip.speaker for clip in found.clips} == {""}


def test_a_folder_that_holds_the_csv(tmp_path: Path) -> None:
    as_csv(tmp_path / "fer2013.csv")
    assert len(inventory(tmp_path).clips) == len(ITEMS)


def test_with_a_private_test_the_public_one_validates(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "fer2013.csv")
    path.write_text(path.read_text() + "\n" + csv_row("PrivateTest", "happy", 20))
    found = inventory(path)
    split = {clip.attributes["part"]: clip.split for clip in found.clips}
    assert split == {"training": "train", "publictest": "validation", "privatetest": "test"}


# === Layouts that are about ===


def with_folders(name: str) -> Callable[[Path], Path]:
    """A zip of PART/happy/1.png ... with other names, by a template of part and emotion."""

    def make(path: Path) -> Path:
        with zipfile.ZipFile(path / "fer.zip", "w") as archive:
            for number, part in enumerate(("Training", "PublicTest", "PrivateTest")):
                archive.writestr(name.format(part, part.lower()), encoded(number))
            archive.writestr("__MACOSX/Training/happy/._1.png", b"resources of a Mac")
            archive.writestr("README.md", "of the archive")
        return path / "fer.zip"

    return make


def unpacked(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def made(path: Path) -> Path:
        with zipfile.ZipFile(make(path)) as archive:
            archive.extractall(path / "there")
        return path / "there"

    return made


def challenge_csv(path: Path, mark: str = ",", head: str = "emotion, Usage, pixels") -> Path:
    """As the challenge gave it out after its end: another order, blanks behind the commas."""
    parts = ("Training", "PublicTest", "PrivateTest")
    pixels = [" ".join(map(str, picture(number).ravel())) for number in range(3)]
    rows = [f"3, {part}, {cell}" for part, cell in zip(parts, pixels, strict=True)]
    lines = [line.replace(", ", f"{mark} ") for line in (head, *rows)]
    (path / "icml_face_data.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n")
    return path


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "in a folder of its own": with_folders("fer2013/{0}/happy/1.png"),
    "two folders deep, upper case": with_folders("a/b/{0}/HAPPY/1.PNG"),
    "lower case": with_folders("{1}/Happy/1.png"),
    "images": with_folders("images/{1}/happy/1.webp"),
    "a folder below the class": with_folders("{0}/happy/more/1.tiff"),
    "backslashes": with_folders("fer2013\\{0}\\happy\\1.png"),
    "unpacked": unpacked(with_folders("fer2013/{1}/Happy/1.jpeg")),
    "icml_face_data.csv": challenge_csv,
    "semicolons": lambda path: challenge_csv(path, ";"),
    "tabs": lambda path: challenge_csv(path, "\t"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_that_are_about(layout: str, tmp_path: Path) -> None:
    found = inventory(LAYOUTS[layout](tmp_path))
    assert not found.rejected
    told = {
        (clip.split, clip.label, read_still_image(clip)[..., 1].tobytes()) for clip in found.clips
    }
    splits = ("train", "validation", "test")
    assert told == {(s, "happy", picture(n).tobytes()) for n, s in enumerate(splits)}


@pytest.mark.parametrize("ending", ["jpg", "webp", "bmp", "tiff", "gif", "ppm"])
def test_any_format_of_pictures(ending: str, tmp_path: Path) -> None:
    names = (f"train/sad/1.{ending}", f"validation/Sad/2.{ending.upper()}", f"test/SAD/3.{ending}")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number, name in enumerate(names):
            rgb = np.repeat(picture(number)[:, :, None], 3, axis=2)
            archive.writestr(name, cv2.imencode(f".{ending}", rgb)[1].tobytes())
    clips = inventory(tmp_path / "x.zip").clips
    assert {clip.split for clip in clips} == {"train", "validation", "test"}
    assert all(
        is_still_image(clip) and read_still_image(clip).shape == (48, 48, 3) for clip in clips
    )


def test_tables_of_the_challenge_while_it_ran(tmp_path: Path) -> None:
    pixels = " ".join(map(str, picture(1).ravel()))
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text(f"emotion,pixels\n3,{pixels}\n")
    test.write_text(f"pixels\n{pixels}\n")
    (clip,) = inventory(tmp_path).clips
    assert (clip.split, clip.label) == ("train", "happy")
    with pytest.raises(
        UserError, match=r"test\.csv: pixels without emotion, .*icml_face_data\.csv"
    ):
        inventory(test)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("fer2013/fer2013.csv", "emotion,pixels,Usage\n")
    with pytest.raises(UserError, match=r"all\.zip: holds fer2013/fer2013\.csv; unpack it"):
        inventory(tmp_path / "all.zip")


@pytest.mark.real
def test_the_originals_are_lossless_webp(real_data: Path) -> None:
    archive = real_data / "fer2013_original.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} is absent")
    found = inventory(archive)
    splits = Counter(clip.split for clip in found.clips)
    assert (splits, found.rejected) == ({"train": 26_138, "test": 3_422}, ())
    assert read_still_image(found.clips[0]).shape == (48, 48, 3)


# === Duplicates ===


@pytest.fixture(scope="module", params=list(FORMS))
def prepared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> DataFolder:
    folder = tmp_path_factory.mktemp("fer")
    assert prepare(source(request.param, folder), folder / "out") == EXIT_OK
    return open_data_folder(folder / "out")


def test_training_copies_of_test_pictures_are_left_out(prepared: DataFolder) -> None:
    hashes = {
        part: {row.video_hash for row in prepared.subset(part)} for part in prepared.splits.parts
    }
    assert not (hashes["train"] | hashes["validation"]) & hashes["test"]
    equals = [row for row in prepared.rows if row.excluded.startswith("equals a test item: ")]
    assert [(row.split, row.label) for row in equals] == [("train", "happy")]


def test_no_test_picture_is_ever_left_out(prepared: DataFolder) -> None:
    tested = prepared.subset("test")
    assert len(tested) == 6
    assert len({row.video_hash for row in tested}) == 4
    assert not any(row.excluded for row in tested)


def test_copies_in_training_are_kept_once_and_conflicting_ones_not_at_all(
    prepared: DataFolder,
) -> None:
    reasons = sorted(row.excluded.partition(":")[0] for row in prepared.rows if row.excluded)
    assert reasons == [
        "equal content, conflicting labels",
        "equal content, conflicting labels",
        "equals a test item",
        "same content under another name",
    ]
    learnt = prepared.subset("train") + prepared.subset("validation")
    assert len(learnt) == len({row.video_hash for row in learnt}) == 6
    assert len(prepared.subset("validation")) == 1


def test_records_are_one_masked_in_frame_each(prepared: DataFolder) -> None:
    assert {(row.num_frames, row.num_faces, row.num_samples) for row in prepared.rows} == {
        (1, 1, 0)
    }
    assert prepared.splits.notes == ("speakers unknown: split by recording",)


def test_the_report_counts_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(source("zip", tmp_path), tmp_path / "out") == EXIT_OK
    printed = capsys.readouterr()
    assert "left out of training and evaluation: 1 record, equals a test item" in printed.out
    assert "left out of training and evaluation: 2 records, equal content, conf" in printed.out
    assert "kept in the official test part: 2 copies" in printed.out
    assert "detector: none, the pictures of this corpus are faces already" in printed.err


# === Bad input ===


def test_bad_pictures_are_rejected_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = as_folder(tmp_path / "fer")
    (folder / "Training/happy/cut.jpg").write_bytes(encoded(1)[:40])
    (folder / "Training/bored").mkdir()
    (folder / "Training/bored/x.jpg").write_bytes(encoded(1))
    assert prepare(folder, tmp_path / "out") == EXIT_PARTIAL
    rejected = (tmp_path / "out/rejected.csv").read_text()
    assert "Training/happy/cut.jpg: not a picture that can be read" in rejected
    assert "Training/bored/x.jpg,not below PART/EMOTION; expected like" in rejected
    assert len(open_data_folder(tmp_path / "out").rows) == len(ITEMS)


def test_bad_rows_of_the_csv(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "fer2013.csv")
    start = path.stat().st_size + 1
    bad = ["7,1 2 3,Training", "1,1 2 3", "3,1 2 3,Training", "3," + "999 " * 2304 + ",Training"]
    path.write_text(path.read_text() + "\n" + "\n".join(bad))
    found = inventory(path)
    assert [r.path for r in found.rejected] == [f"fer2013.csv:{len(ITEMS) + n}" for n in (2, 3)]
    last = {int(clip.inner): clip for clip in found.clips if int(clip.inner) >= start}
    short, loud = (last[offset] for offset in sorted(last))
    with pytest.raises(MediaError, match="not 48x48 pixels"):
        read_still_image(short)
    with pytest.raises(MediaError, match="outside 0-255"):
        read_still_image(loud)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("fer.csv", b"a,b,c\n1,2,3\n", "header is not emotion,pixels,Usage"),
        ("fer.csv", b"emotion,pixels,Usage\n", "no FER2013 picture in it"),
        ("fer.zip", b"no zip", "neither a folder, a zip nor a CSV"),
    ],
)
def test_what_is_no_fer2013(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        inventory(tmp_path / name)
