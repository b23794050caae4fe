"""One contract for every corpus of the registry, and RAVDESS by its file names."""

from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import registry
from errors import UserError
from preprocessing.clip import Inventory
from preprocessing.labels import CANONICAL


def touch(folder: Path, *names: str) -> Path:
    """Empty files; an inventory opens none of them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def ravdess_names(modality: str = "03", suffix: str = ".wav") -> list[str]:
    return [
        f"Actor_{actor:02d}/{modality}-01-{emotion:02d}-01-01-{take:02d}-{actor:02d}{suffix}"
        for actor in (1, 2, 10)
        for emotion in range(1, 9)
        for take in (1, 2)
    ]


def fake_by_name(folder: Path) -> Path:
    return touch(folder, *ravdess_names())


def fake_manifest(folder: Path) -> Path:
    lines = [f"b/{label}.wav,{label},{index}" for index, label in enumerate(CANONICAL)]
    folder.mkdir(parents=True)
    (folder / "manifest.csv").write_text("\n".join(["path,label,speaker", *lines]))
    return folder


def fake_fer2013(folder: Path) -> Path:
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    parts = ("Training", "PublicTest")
    return touch(folder, *(f"{p}/{e}/{n}.jpg" for p in parts for e in emotions for n in range(3)))


# A new corpus needs its row here; the contract below then holds for it.
FAKES: dict[str, Callable[[Path], Path]] = {
    "ravdess": fake_by_name,
    "ravdess_song": fake_by_name,
    "sample": fake_by_name,
    "manifest": fake_manifest,
    "fer2013": fake_fer2013,
}
WITHOUT_SPEAKERS = {"fer2013"}


def inventory(corpus: str, source: Path) -> Inventory:
    return registry.load("corpora", corpus).inventory(source)


# === Contract ===


@pytest.mark.parametrize("name", registry.names("corpora"))
class TestEveryCorpus:
    def test_clips_are_sorted_unique_and_labelled(self, name: str, tmp_path: Path) -> None:
        found = inventory(name, FAKES[name](tmp_path / "corpus"))
        keys = [clip.key for clip in found.clips]
        assert keys == sorted(set(keys))
        assert len(keys) >= 11
        assert not found.rejected
        assert {clip.label for clip in found.clips} <= set(CANONICAL)
        assert len({clip.label for clip in found.clips}) >= 7
        assert not any(str(tmp_path) in clip.name for clip in found.clips)

    def test_ids_carry_the_corpus(self, name: str, tmp_path: Path) -> None:
        corpus = registry.load("corpora", name)
        for clip in corpus.inventory(FAKES[name](tmp_path / "corpus")).clips:
            assert clip.corpus == corpus.name
            assert clip.recording.startswith(f"{corpus.name}/")
            if name in WITHOUT_SPEAKERS:
                assert clip.speaker == ""
            else:
                assert clip.speaker.startswith(f"{corpus.name}/")

    def test_directory_order_does_not_matter(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = FAKES[name](tmp_path / "corpus")
        before = inventory(name, source)
        scan, listing = os.scandir, os.listdir
        shuffler = random.Random(0)

        class Shuffled:
            def __init__(self, path: str) -> None:
                with scan(path) as entries:
                    self.entries = list(entries)
                shuffler.shuffle(self.entries)

            def __enter__(self) -> Shuffled:
                return self

            def __exit__(self, *_: object) -> None: ...

            def __iter__(self):
                return iter(self.entries)

        monkeypatch.setattr(os, "scandir", Shuffled)
        monkeypatch.setattr(os, "listdir", lambda path: sorted(listing(path), reverse=True))
        assert inventory(name, source) == before

    def test_missing_source_is_one_line(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="absent") as caught:
            inventory(name, tmp_path / "absent")
        assert "\n" not in str(caught.value)

    def test_says_licence_and_source(self, name: str, tmp_path: Path) -> None:
        corpus = registry.load("corpora", name)
        assert corpus.licence
        assert corpus.citation
        assert registry.entry("corpora", name).licence
        assert corpus.synthetic == (name == "sample")


@pytest.mark.parametrize("name", ["ravdess", "sample", "fer2013"])
def test_empty_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        inventory(name, tmp_path)


# === RAVDESS ===


def test_any_depth_and_any_container(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "03-01-05-02-01-01-12.wav",
        "deep/er/and/deeper/03-01-05-02-01-02-12.FLAC",
        "video/01-01-05-02-02-01-12.mp4",
        "video/02-01-05-02-02-02-11.mkv",
        "Actor_12/.03-01-05-01-02-02-12.wav",
        "Actor_12/notes.txt",
    )
    found = inventory("ravdess", tmp_path)
    assert [clip.recording for clip in found.clips] == [
        "ravdess/01-05-02-01-01-12",
        "ravdess/01-05-02-01-02-12",
        "ravdess/01-05-02-02-01-12",
        "ravdess/01-05-02-02-02-11",
    ]
    assert {clip.label for clip in found.clips} == {"angry"}
    assert [clip.speaker for clip in found.clips][-2:] == ["ravdess/12", "ravdess/11"]
    assert [clip.attributes["sex"] for clip in found.clips][-2:] == ["female", "male"]
    assert found.clips[0].attributes["intensity"] == "strong"
    assert not found.rejected


def test_every_emotion_code() -> None:
    corpus = registry.load("corpora", "ravdess")
    assert corpus.labels == {f"{code:02d}": CANONICAL[code - 1] for code in range(1, 9)}


def test_one_file_of_a_recording_the_audio_visual_first(tmp_path: Path) -> None:
    stem = "01-03-01-01-01-07"
    touch(tmp_path, f"a/02-{stem}.mp4", f"b/03-{stem}.wav", f"c/01-{stem}.mp4", f"d/03-{stem}.flac")
    found = inventory("ravdess", tmp_path)
    assert [clip.name for clip in found.clips] == [f"c/01-{stem}.mp4"]
    assert found.left_out == {"another file of the same recording is used": 3}
    (tmp_path / f"c/01-{stem}.mp4").unlink()
    assert [clip.name for clip in inventory("ravdess", tmp_path).clips] == [f"b/03-{stem}.wav"]


def test_song_is_left_out_and_counted(tmp_path: Path) -> None:
    touch(
        tmp_path, "03-01-03-01-01-01-07.wav", "03-02-03-01-01-01-07.wav", "01-02-04-01-01-01-07.mp4"
    )
    found = inventory("ravdess", tmp_path)
    assert [clip.name for clip in found.clips] == ["03-01-03-01-01-01-07.wav"]
    (reason, count), *others = found.left_out.items()
    assert "song" in reason
    assert (count, others) == (2, [])
    assert not found.rejected
    with_song = inventory("ravdess_song", tmp_path)
    assert len(with_song.clips) == 3
    assert with_song.clips[0].corpus == "ravdess"
    assert {clip.attributes["channel"] for clip in with_song.clips} == {"speech", "song"}


@pytest.mark.parametrize(
    "name",
    [
        "hello.wav",
        "03-01-09-01-01-01-12.wav",
        "03-01-05-01-01-01.wav",
        "03-01-05-01-01-01-12-extra.wav",
        "04-01-05-01-01-01-12.wav",
        "03-01-05-01-03-01-12.wav",
    ],
)
def test_another_name_is_rejected_with_an_example(name: str, tmp_path: Path) -> None:
    touch(tmp_path, name, "03-01-05-01-01-01-12.wav")
    found = inventory("ravdess", tmp_path)
    assert [clip.name for clip in found.clips] == ["03-01-05-01-01-01-12.wav"]
    (rejection,) = found.rejected
    assert rejection.path == name
    assert "03-01-05-02-01-01-12.wav" in rejection.reason


def test_a_name_that_is_no_utf8_is_listed_in_letters_that_are(tmp_path: Path) -> None:
    touch(tmp_path, "03-01-05-01-01-01-12.wav")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (rejection,) = inventory("ravdess", tmp_path).rejected
    assert rejection.path == r"caf\udce9.wav"
    rejection.path.encode()


def test_a_file_where_a_folder_is_meant(tmp_path: Path) -> None:
    touch(tmp_path, "03-01-05-01-01-01-12.wav")
    with pytest.raises(UserError, match="not a folder"):
        inventory("ravdess", tmp_path / "03-01-05-01-01-01-12.wav")


@pytest.mark.real
def test_real_ravdess(real_data: Path) -> None:
    found = inventory("ravdess", real_data / "ravdess")
    assert len(found.clips) == 1200
    assert len({clip.speaker for clip in found.clips}) == 20
    counts = {label: sum(clip.label == label for clip in found.clips) for label in CANONICAL[:8]}
    assert counts == {label: 80 if label == "neutral" else 160 for label in CANONICAL[:8]}
    assert not found.rejected
    assert not found.left_out


@pytest.mark.real
def test_real_fer2013(real_data: Path) -> None:
    archive = real_data / "fer2013.zip"
    found = inventory("fer2013", archive)
    with zipfile.ZipFile(archive) as file:
        num_pictures = sum(name.endswith(".jpg") for name in file.namelist())
    assert len(found.clips) == num_pictures == 28_709 + 3_589
    assert sum(clip.split == "test" for clip in found.clips) == 3_589
    assert not found.rejected
