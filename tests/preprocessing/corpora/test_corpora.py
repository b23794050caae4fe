"""One contract for every corpus of the registry, and RAVDESS by its file names."""

from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import CorpusIndex
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.labels import CANONICAL_LABELS
from affectstream.preprocessing.media.video.still_images import is_still_image
from tests.support.iemocap_release import write_release


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
    lines = [f"b/{label}.wav,{label},{index}" for index, label in enumerate(CANONICAL_LABELS)]
    folder.mkdir(parents=True)
    (folder / "manifest.csv").write_text("\n".join(["path,label,speaker", *lines]))
    return folder


def fake_fer2013(folder: Path) -> Path:
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    parts = ("Training", "PublicTest")
    return touch(folder, *(f"{p}/{e}/{n}.jpg" for p in parts for e in emotions for n in range(3)))


def fake_tess(folder: Path) -> Path:
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    names = [f"{s}_{e}/{s}_back_{e}.wav" for s in ("OAF", "YAF") for e in emotions]
    return touch(folder, *names)


def fake_crema_d(folder: Path) -> Path:
    emotions = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    return touch(folder, *(f"AudioWAV/{s}_DFA_{e}_XX.wav" for s in (1001, 1091) for e in emotions))


def fake_emodb(folder: Path) -> Path:
    return touch(folder, *(f"wav/{s}a01{e}a.wav" for s in ("03", "16") for e in "WEAFTNL"))


def fake_savee(folder: Path) -> Path:
    codes = ("a", "d", "f", "h", "n", "sa", "su")
    return touch(folder, *(f"AudioData/{s}/{c}01.wav" for s in ("DC", "KL") for c in codes))


def fake_meld(folder: Path) -> Path:
    emotions = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
    columns = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID"
    rows = [f'{n},"Well, no.",Ross,{e},neutral,0,{n}' for n, e in enumerate(emotions)]
    for part, media in (("train", "train_splits"), ("dev", "dev_splits_complete")):
        touch(folder, *(f"{media}/dia0_utt{n}.mp4" for n in range(len(emotions))))
        (folder / f"{part}_sent_emo.csv").write_text("\n".join([columns, *rows]))
    return folder


def fake_emotion(folder: Path) -> Path:
    labels = ("sadness", "joy", "love", "anger", "fear", "surprise")
    folder.mkdir(parents=True)
    for part in ("train", "val", "test"):
        lines = [f"i feel {label}; said in {part};{label}" for label in labels]
        (folder / f"{part}.txt").write_text("\n".join(["text;label_name", *lines]))
    return folder


def fake_goemotions(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    for part in ("train", "dev", "test"):
        lines = [f"comment {n} of {part}\t{n}\t{part}{n}" for n in range(28)]
        (folder / "data" / f"{part}.tsv").write_text("\n".join(lines))
    return folder


def fake_meld_text(folder: Path) -> Path:
    fake_meld(folder)
    for clip in folder.rglob("*.mp4"):
        clip.unlink()
    return folder


# A new corpus needs its row here; the contract below then holds for it.
def fake_iemocap(folder: Path) -> Path:
    codes = ("ang", "hap", "exc", "sad", "fru", "fea", "sur", "neu", "dis")
    return write_release(folder, 2, codes, ("F_impro01",))


FAKES: dict[str, Callable[[Path], Path]] = {
    "ravdess": fake_by_name,
    "ravdess_song": fake_by_name,
    "sample": fake_by_name,
    "manifest": fake_manifest,
    "fer2013": fake_fer2013,
    "tess": fake_tess,
    "crema_d": fake_crema_d,
    "emodb": fake_emodb,
    "savee": fake_savee,
    "meld": fake_meld,
    "meld_text": fake_meld_text,
    "emotion": fake_emotion,
    "goemotions": fake_goemotions,
    "iemocap": fake_iemocap,
}
NUM_LABELS = {"crema_d": 6, "emodb": 6, "emotion": 6}
WITHOUT_SPEAKERS = {"fer2013", "emotion", "goemotions"}


def inventory(corpus: str, source: Path) -> CorpusIndex:
    return registry.load("corpora", corpus).build_index(source)


# === Contract ===


@pytest.mark.parametrize("name", registry.names("corpora"))
class TestEveryCorpus:
    def test_clips_are_sorted_unique_and_labelled(self, name: str, tmp_path: Path) -> None:
        found = inventory(name, FAKES[name](tmp_path / "corpus"))
        keys = [clip.key for clip in found.clips]
        assert keys == sorted(set(keys))
        assert len(keys) >= 11
        assert not found.rejected
        assert {clip.label for clip in found.clips} <= set(CANONICAL_LABELS)
        assert len({clip.label for clip in found.clips}) >= NUM_LABELS.get(name, 7)
        assert not any(str(tmp_path) in clip.name for clip in found.clips)

    def test_ids_carry_the_corpus(self, name: str, tmp_path: Path) -> None:
        corpus = registry.load("corpora", name)
        for clip in corpus.build_index(FAKES[name](tmp_path / "corpus")).clips:
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

    def test_clips_keep_what_the_corpus_declares(self, name: str, tmp_path: Path) -> None:
        corpus = registry.load("corpora", name)
        assert isinstance(corpus, Corpus)
        clips = corpus.build_index(FAKES[name](tmp_path / "corpus")).clips
        assert all(clip.text_only == corpus.text_only for clip in clips)
        assert all(bool(clip.split) == corpus.official_split for clip in clips)
        if corpus.faces_cropped:
            assert all(is_still_image(clip) for clip in clips)
        if corpus.recording_pattern is not None:
            matches = [corpus.recording_pattern.fullmatch(Path(clip.name).stem) for clip in clips]
            assert [f"{corpus.name}/{match['recording']}" for match in matches if match] == [
                clip.recording for clip in clips
            ]

    def test_options_are_stored_and_none_by_default(self, name: str) -> None:
        corpus = registry.load("corpora", name)
        assert corpus.options == {}
        without = corpus.without_scripts()
        assert (without is None) == (name != "iemocap")
        assert without is None or without.options == {"improvised_only": True}

    def test_a_name_stays_unless_the_user_gives_it(self, name: str, tmp_path: Path) -> None:
        corpus = registry.load("corpora", name)
        named = corpus.with_name(FAKES[name](tmp_path / "corpus"))
        assert (named is corpus) == (name != "manifest")
        assert named.name.startswith(corpus.name)


@pytest.mark.parametrize("name", [name for name in FAKES if name != "manifest"])
def test_an_empty_folder_is_refused_by_name(name: str, tmp_path: Path) -> None:
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
    assert corpus.labels == {f"{code:02d}": CANONICAL_LABELS[code - 1] for code in range(1, 9)}


def test_one_file_of_a_recording_the_audio_visual_first(tmp_path: Path) -> None:
    stem = "01-03-01-01-01-07"
    touch(tmp_path, f"a/02-{stem}.mp4", f"b/03-{stem}.wav", f"c/01-{stem}.mp4", f"d/03-{stem}.flac")
    found = inventory("ravdess", tmp_path)
    assert [clip.name for clip in found.clips] == [f"c/01-{stem}.mp4"]
    assert found.skipped == {"another file of the same recording is used": 3}
    (tmp_path / f"c/01-{stem}.mp4").unlink()
    assert [clip.name for clip in inventory("ravdess", tmp_path).clips] == [f"b/03-{stem}.wav"]


def test_song_is_left_out_and_counted(tmp_path: Path) -> None:
    touch(
        tmp_path, "03-01-03-01-01-01-07.wav", "03-02-03-01-01-01-07.wav", "01-02-04-01-01-01-07.mp4"
    )
    found = inventory("ravdess", tmp_path)
    assert [clip.name for clip in found.clips] == ["03-01-03-01-01-01-07.wav"]
    (reason, count), *others = found.skipped.items()
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


# === What is said, where the name tells it ===


@pytest.mark.parametrize(
    ("corpus", "name", "said"),
    [
        ("ravdess", "03-01-05-01-01-01-12.wav", "Kids are talking by the door"),
        ("ravdess", "03-01-05-01-02-01-12.wav", "Dogs are sitting by the door"),
        ("ravdess_song", "03-02-05-01-02-01-12.wav", "Dogs are sitting by the door"),
        ("sample", "01-01-05-01-01-01-03.mp4", ""),
        ("tess", "OAF_Back_angry.wav", "Say the word back"),
        ("crema_d", "1001_ITH_ANG_XX.wav", "I think I have a doctor's appointment"),
        ("emodb", "03b01Fa.wav", "Was sind denn das für Tüten, die da unter dem Tisch stehen?"),
        ("emodb", "03a03Fa.wav", ""),
        ("savee", "DC/a01.wav", ""),
    ],
)
def test_transcript_by_name(corpus: str, name: str, said: str, tmp_path: Path) -> None:
    (clip,) = inventory(corpus, touch(tmp_path, name)).clips
    assert clip.transcript == said
    assert not clip.text_only


def test_every_code_of_a_sentence_has_its_words(tmp_path: Path) -> None:
    codes = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
    found = inventory("crema_d", touch(tmp_path, *(f"1001_{c}_ANG_XX.wav" for c in codes)))
    assert len({clip.transcript for clip in found.clips}) == len(codes)
    assert all(clip.transcript for clip in found.clips)


# === The other corpora told by their file names ===


def test_tess_speakers_surprise_and_the_misspelt_name(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "OAF_neutral/OA_bite_neutral.wav",
        "OAF_Pleasant_surprise/OAF_back_ps.wav",
        "YAF_fear/YAF_back_fear.flac",
        "copy/YAF_fear/YAF_back_fear.wav",
    )
    found = inventory("tess", tmp_path)
    shown = [(clip.name, clip.label, clip.speaker, clip.recording) for clip in found.clips]
    assert shown == [
        ("OAF_Pleasant_surprise/OAF_back_ps.wav", "surprised", "tess/OAF", "tess/OAF_back_ps"),
        ("OAF_neutral/OA_bite_neutral.wav", "neutral", "tess/OAF", "tess/OAF_bite_neutral"),
        ("YAF_fear/YAF_back_fear.flac", "fearful", "tess/YAF", "tess/YAF_back_fear"),
    ]
    assert found.clips[0].attributes == {"sex": "female", "age_years": "64", "word": "back"}
    assert found.skipped == {"another file of the same recording is used": 1}


def test_crema_d_facts_of_a_name_and_one_file_a_recording(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "AudioWAV/1001_DFA_ANG_XX.wav",
        "VideoFlash/1001_DFA_ANG_XX.flv",
        "AudioMP3/1091_IEO_SAD_HI.mp3",
        "AudioWAV/1091_IEO_SAD_HI.wav",
        "AudioWAV/1040_ITH_SAD_X.wav",
    )
    found = inventory("crema_d", tmp_path)
    shown = {clip.name: (clip.speaker, clip.label, clip.attributes) for clip in found.clips}
    assert shown == {
        "AudioWAV/1040_ITH_SAD_X.wav": (
            "crema_d/1040",
            "sad",
            {"sex": "male", "intensity": "unspecified", "statement": "ITH"},
        ),
        "AudioWAV/1091_IEO_SAD_HI.wav": (
            "crema_d/1091",
            "sad",
            {"sex": "female", "intensity": "high", "statement": "IEO"},
        ),
        "VideoFlash/1001_DFA_ANG_XX.flv": (
            "crema_d/1001",
            "angry",
            {"sex": "male", "intensity": "unspecified", "statement": "DFA"},
        ),
    }
    assert found.clips[0].recording == "crema_d/1040_ITH_SAD_XX"


def test_crema_d_has_43_women_among_91(tmp_path: Path) -> None:
    found = inventory(
        "crema_d", touch(tmp_path, *(f"{n}_DFA_ANG_XX.wav" for n in range(990, 1101)))
    )
    assert [clip.speaker for clip in found.clips] == [f"crema_d/{n}" for n in range(1001, 1092)]
    assert sum(clip.attributes["sex"] == "female" for clip in found.clips) == 43
    assert len(found.rejected) == 20


def test_a_known_bad_file_is_rejected_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "1076_MTI_SAD_XX.wav", "1076_MTI_ANG_XX.wav")
    found = inventory("crema_d", tmp_path)
    assert [clip.name for clip in found.clips] == ["1076_MTI_ANG_XX.wav"]
    (rejection,) = found.rejected
    assert rejection.path == "1076_MTI_SAD_XX.wav"
    assert "known to be bad (no sound)" in rejection.reason


def test_emodb_letters_and_boredom_counted_not_dropped(tmp_path: Path) -> None:
    touch(tmp_path, *(f"wav/03a01{letter}a.wav" for letter in "WEAFTNL"), "wav/08b10Lb.wav")
    found = inventory("emodb", tmp_path)
    labels = {clip.name[9]: clip.label for clip in found.clips}
    assert labels == {
        "W": "angry",
        "E": "disgust",
        "A": "fearful",
        "F": "happy",
        "T": "sad",
        "N": "neutral",
    }
    assert found.skipped == {"boredom: no such label here": 2}
    assert not found.rejected
    assert found.clips[0].attributes == {"sex": "male", "statement": "a01"}


def test_emodb_of_boredom_only_is_no_wrong_kind(tmp_path: Path) -> None:
    found = inventory("emodb", touch(tmp_path, "03a01La.wav"))
    assert (found.clips, found.rejected) == ((), ())
    assert found.skipped == {"boredom: no such label here": 1}


@pytest.mark.parametrize("name", ["AudioData/JE/su01.wav", "ALL/JE_su01.wav", "JE/su01.avi"])
def test_savee_by_folder_or_by_prefix(name: str, tmp_path: Path) -> None:
    (clip,) = inventory("savee", touch(tmp_path, name)).clips
    assert (clip.label, clip.speaker, clip.recording) == (
        "surprised",
        "savee/JE",
        "savee/JE_su01",
    )
    assert clip.attributes["sex"] == "male"


def test_savee_takes_the_file_with_picture_and_sa_is_not_a(tmp_path: Path) -> None:
    touch(tmp_path, "Audio/DC/sa01.wav", "Video/DC/sa01.avi", "Audio/DC/a01.wav")
    found = inventory("savee", tmp_path)
    shown = [(clip.name, clip.label) for clip in found.clips]
    assert shown == [("Audio/DC/a01.wav", "angry"), ("Video/DC/sa01.avi", "sad")]


# === The wrong kind ===

NAMED = ("ravdess", "tess", "crema_d", "emodb", "savee", "meld")


@pytest.mark.parametrize("given", NAMED)
@pytest.mark.parametrize("reader", NAMED)
def test_a_corpus_given_to_the_reader_of_another(given: str, reader: str, tmp_path: Path) -> None:
    if given == reader:
        return
    folder = FAKES[given](tmp_path / "corpus")
    with pytest.raises(UserError) as caught:
        inventory(reader, folder)
    text = str(caught.value)
    assert text.startswith(f"{folder}: ")
    assert text.endswith(f"it looks like {given}: use --corpus {given}")
    assert "\n" not in text


def test_a_folder_of_no_known_kind(tmp_path: Path) -> None:
    touch(tmp_path, "holiday.wav")
    with pytest.raises(UserError, match=r"found holiday\.wav; check --corpus and --source"):
        inventory("tess", tmp_path)


@pytest.mark.real
def test_real_ravdess(real_data: Path) -> None:
    found = inventory("ravdess", real_data / "ravdess")
    assert len(found.clips) == 1200
    assert len({clip.speaker for clip in found.clips}) == 20
    counts = {
        label: sum(clip.label == label for clip in found.clips) for label in CANONICAL_LABELS[:8]
    }
    assert counts == {label: 80 if label == "neutral" else 160 for label in CANONICAL_LABELS[:8]}
    assert not found.rejected
    assert not found.skipped


@pytest.mark.real
def test_real_fer2013(real_data: Path) -> None:
    archive = real_data / "fer2013.zip"
    found = inventory("fer2013", archive)
    with zipfile.ZipFile(archive) as file:
        num_pictures = sum(name.endswith(".jpg") for name in file.namelist())
    assert len(found.clips) == num_pictures == 28_709 + 3_589
    assert sum(clip.split == "test" for clip in found.clips) == 3_589
    assert not found.rejected


@pytest.mark.real
def test_real_tess(real_data: Path) -> None:
    found = inventory("tess", real_data / "tess")
    assert len(found.clips) == 700
    counts = {
        label: sum(clip.label == label for clip in found.clips) for label in CANONICAL_LABELS[:8]
    }
    assert counts == {label: 0 if label == "calm" else 100 for label in CANONICAL_LABELS[:8]}
    assert {clip.speaker for clip in found.clips} == {"tess/OAF", "tess/YAF"}
    assert not found.rejected
    assert not found.skipped
