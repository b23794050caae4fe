"""The commands that are killed, with small inputs: SYNTHETIC ones, or a handful of real recordings.

Real are sounds of RAVDESS and lines of MELD below the folder that EMOTION_DATA names.
"""

from __future__ import annotations

import csv
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from affectstream import cli
from affectstream.preprocessing.synthetic.corpus import synthesize
from benchmarks import inputs
from benchmarks.robustness.kill_trials import Job

# Each of MELD's six leading speakers has lines of all four classes.
CLASSES = ("--labels", "iemocap4")
TRAIN = ("--recipe", "tfidf-text", *CLASSES, "--set", "min_df=1", "--set", "learning_rate=0.05")
SPEAKERS, EMOTIONS = 3, ("01", "03", "05")
# SYNTHETIC text that carries the label.
WORDS_OF_LABEL = {
    "neutral": "report schedule table",
    "happy": "wonderful laugh party",
    "sad": "lonely tears rain",
    "angry": "furious shout fist",
    "fearful": "terrified dark cellar",
    "disgust": "rotten filthy slime",
    "surprised": "unexpected sudden gift",
}
LABELS_OF_MELD = {"neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry"}
SPEAKERS_OF_MELD = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")
# Of each speaker in each class.
NUM_LINES = 8


def describe_inputs() -> str:
    """Describes the inputs of the commands."""
    if inputs.data_folder() is None:
        return "SYNTHETIC clips and sentences"
    return "real sounds (RAVDESS) and sentences (MELD)"


class Inputs:
    """Creates the inputs of the commands, each once."""

    def __init__(self, work: Path) -> None:
        self._work = work

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        folder = self._work / "inputs" / name
        if not folder.is_dir():
            unfinished = folder.with_name(f"{name}-unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            unfinished.rename(folder)
        return folder

    @property
    def corpus(self) -> str:
        return "sample" if inputs.data_folder() is None else "ravdess"

    def recordings(self) -> Path:
        """`clips/`: a corpus of a few recordings."""
        return self._made("recordings", self._record)

    def _record(self, folder: Path) -> None:
        real = inputs.data_folder()
        if real is None:
            paths = synthesize(self._work / "sample", SPEAKERS, num_takes=1)
        else:
            actors = sorted((real / "ravdess").iterdir())[:SPEAKERS]
            paths = [path for actor in actors for path in sorted(actor.iterdir())]
        for path in paths:
            _, _, emotion, intensity, statement, take, _ = path.stem.split("-")
            if emotion in EMOTIONS and (intensity, statement, take) == ("01", "01", "01"):
                target = folder / "clips" / path.parent.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)

    def records(self) -> Path:
        """`data/`: those recordings, prepared."""

        def make(folder: Path) -> None:
            words = ("--source", str(self.recordings() / "clips"), "--out", str(folder / "data"))
            run_cli("preprocess", "--corpus", self.corpus, "--detector", "haar", *words)

        return self._made("records", make)

    def words(self) -> Path:
        """`data/`: sentences, prepared."""

        def make(folder: Path) -> None:
            table = folder / "words.csv"
            with open(table, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(("path", "label", "speaker", "transcript"))
                writer.writerows(_sentences())
            out = ("--source", str(table), "--out", str(folder / "data"), "--workers", "0")
            run_cli("preprocess", "--corpus", "manifest", *out)

        return self._made("words", make)

    def run(self) -> Path:
        """`run/`: a finished training on the sentences."""

        def make(folder: Path) -> None:
            data = ("--data", str(self.words() / "data"), "--out", str(folder / "run"))
            run_cli("train", *TRAIN, "--epochs", "1", *data)

        return self._made("run", make)

    def nothing(self) -> Path:
        """An empty folder."""
        return self._made("nothing", lambda folder: None)


def run_cli(*words: str) -> None:
    """Runs a command in this process."""
    if code := cli.main(words):
        raise RuntimeError(f"{words[0]} ended with {code}")


def _sentences() -> Iterator[tuple[str, str, str, str]]:
    real = inputs.data_folder()
    if real is not None:
        path = real / "text" / "meld" / "dev_sent_emo.csv"
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
        for speaker, emotion in itertools.product(SPEAKERS_OF_MELD, LABELS_OF_MELD):
            own = [row for row in rows if (row["Speaker"], row["Emotion"]) == (speaker, emotion)]
            for row in own[:NUM_LINES]:
                yield "", LABELS_OF_MELD[emotion], speaker, row["Utterance"]
        return
    rng = np.random.default_rng(0)
    for number in range(4):
        for label, telling in WORDS_OF_LABEL.items():
            yield "", label, f"{number}", " ".join(rng.permutation(telling.split()))


def _resumed(place: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    """`train` goes on with --resume once there is a run."""
    return (*words, "--resume") if (place / "run" / "run.json").is_file() else words


def _exported(place: Path, words: tuple[str, ...]) -> tuple[str, ...] | None:
    """An existing version is finished; `export` would report that it exists."""
    return None if (place / "export" / "1").exists() else words


def jobs(work: Path, mirror: str) -> dict[str, Callable[[], Job]]:
    """Name -> the command, whose inputs are created on demand."""
    made = Inputs(work)
    clips = ("--corpus", made.corpus, "--source", "clips", "--out", "data", "--detector", "haar")
    trained = ("--data", "data", *TRAIN)
    crossed = ("--folds", "3", "--seeds", "1", "--epochs", "2", "--out", "crossval")
    version = ("--run", "run", "--out", "export", "--version", "1")
    kinds = "noise,flip" if inputs.data_folder() is None else "noise,gain"
    copies = ("--transforms", kinds, "--copies", "2", "--examples", "2")
    plain: dict[str, tuple[tuple[str, ...], Callable[[], Path], str]] = {
        "preprocess": (("preprocess", *clips, "--workers", "0"), made.recordings, "data"),
        "preprocess, 2 workers": (
            ("preprocess", *clips, "--workers", "2"),
            made.recordings,
            "data",
        ),
        "crossval": (("crossval", *trained, *crossed), made.words, "crossval"),
        "augment": (("augment", "--data", "data", "--out", "more", *copies), made.records, "more"),
        "download": (
            ("download", "ravdess", "--out", "corpus", "--mirror", mirror),
            made.nothing,
            "corpus",
        ),
    }
    found: dict[str, Callable[[], Job]] = {
        name: lambda name=name, row=row: Job(name, row[0], row[1](), row[2])  # type: ignore[misc]
        for name, row in plain.items()
    }
    train = ("train", *trained, "--epochs", "3", "--out", "run")
    found["train"] = lambda: Job("train", train, made.words(), "run", _resumed)
    found["export"] = lambda: Job("export", ("export", *version), made.run(), "export", _exported)
    return found
