"""Word error rate and seconds a clip of a transcriber on RAVDESS, whose words are known."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.preprocessing.pcm import to_pcm
from affectstream.preprocessing.speech_to_text.transcriber import NoSpeechRecognizedError
from benchmarks import inputs, report

RATE_HZ = 16_000
NUM_CLIPS, NUM_QUICK_CLIPS = 50, 2
NUM_SHOWN = 8
LANGUAGE = "en-US"
# Codes of the field `statement` of a file name (Livingstone & Russo 2018).
SENTENCES = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}


@dataclass(frozen=True)
class TranscribedClip:
    """One clip: its true sentence, the transcript ("" for none), the seconds it took."""

    sentence: str
    text: str
    seconds: float


# === Clips ===


def clips(data: Path | None, work: Path, is_quick: bool) -> tuple[list[Clip], str]:
    """Clips spread over actors and emotions, and one line that describes them."""
    if data is None:
        inputs.synthetic_corpus(work, is_quick)
        found = registry.load("corpora", "sample").build_index(work / "sample").clips
        origin = "the SYNTHETIC voices of the sample corpus, which say no words: the error rate"
        origin += " means nothing"
    else:
        found = registry.load("corpora", "ravdess").build_index(data).clips
        origin = "RAVDESS, drawn with seed 0"
    chosen = spread(found, NUM_QUICK_CLIPS if is_quick else NUM_CLIPS)
    actors, emotions = {clip.speaker for clip in chosen}, {clip.label for clip in chosen}
    return chosen, (
        f"{len(chosen)} clips of {len(actors)} actors and {len(emotions)} emotions, 16 kHz,"
        f" from {origin}."
    )


def spread(found: Sequence[Clip], count: int) -> list[Clip]:
    """At most `count` clips, actors and emotions in turn, drawn without repetition."""
    rng = random.Random(0)
    groups: dict[tuple[str, str], list[Clip]] = {}
    for clip in sorted(found, key=lambda clip: clip.key):
        groups.setdefault((clip.speaker, clip.label), []).append(clip)
    for group in groups.values():
        rng.shuffle(group)
    chosen: list[Clip] = []
    speakers: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    while groups and len(chosen) < count:
        pair = min(groups, key=lambda pair: (speakers[pair[0]] + labels[pair[1]], pair))
        chosen.append(groups[pair].pop())
        speakers[pair[0]] += 1
        labels[pair[1]] += 1
        if not groups[pair]:
            del groups[pair]
    return chosen


def sound(clip: Clip) -> np.ndarray:
    """(samples,) int16 mono at 16 kHz."""
    with MediaFile(clip.path) as media:
        bounds = [(0.0, media.info.duration_s)]
        (tracks,) = media.segments(bounds, RATE_HZ, None, lambda frame: frame)
    if tracks.waveform is None or not len(tracks.waveform):
        raise UserError(f"{clip.path}: no sound; give --data a folder of recordings with sound")
    return to_pcm(tracks.waveform)


# === Measuring ===


def word_errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Smallest number of inserted, deleted or replaced words. Source: Levenshtein 1966."""
    row = list(range(len(heard) + 1))
    for place, word in enumerate(reference, 1):
        above, row[0] = row[0], place
        for column, other in enumerate(heard, 1):
            kept = above + (word != other)
            above = row[column]
            row[column] = min(kept, above + 1, row[column - 1] + 1)
    return row[-1]


def error_rate(heard: Sequence[TranscribedClip]) -> float:
    """Word errors of all clips divided by the number of spoken words."""
    errors = sum(word_errors(one.sentence.split(), one.text.lower().split()) for one in heard)
    return errors / sum(len(one.sentence.split()) for one in heard)


def listen(transcriber: Any, clip: Clip) -> TranscribedClip:
    pcm = sound(clip)
    began_s = time.perf_counter()
    try:
        text = transcriber(pcm, RATE_HZ)
    except NoSpeechRecognizedError:
        text = ""
    return TranscribedClip(
        SENTENCES[clip.attributes["statement"]], text, time.perf_counter() - began_s
    )


def _row(name: str, heard: Sequence[TranscribedClip]) -> tuple[str, ...]:
    exact = sum(one.text.lower() == one.sentence for one in heard)
    nothing = sum(not one.text for one in heard)
    seconds = report.median([one.seconds for one in heard])
    cells = (str(len(heard)), f"{error_rate(heard):.3f}", str(exact), str(nothing))
    return (name, *cells, f"{seconds:.2f}")


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    options = report.parser(__doc__)
    options.add_argument("--data", type=Path, help="folder of RAVDESS speech")
    options.add_argument("--transcriber", default="sphinx", help="see `cli.py list transcribers`")
    chosen = options.parse_args(words)
    machine = report.machine()
    real = inputs.data_folder()
    data = None if chosen.quick else chosen.data or (real and real / "ravdess")
    with report.work_folder(chosen.work) as work:
        used, origin = clips(data, work, chosen.quick)
        began_s = time.perf_counter()
        transcriber = registry.load("transcribers", chosen.transcriber)(LANGUAGE)
        opened_s = time.perf_counter() - began_s
        heard = [listen(transcriber, clip) for clip in used]
    rows = [_row("all", heard)]
    for sentence in SENTENCES.values():
        of_it = [one for one in heard if one.sentence == sentence]
        if of_it:
            rows.append(_row(sentence, of_it))
    columns = ("what is said", "clips", "word error rate", "without error", "nothing", "s/clip")
    often = Counter((one.text or "(nothing)", one.sentence) for one in heard)
    shown = [(text, said, count) for (text, said), count in often.most_common(NUM_SHOWN)]
    note = (
        f"{origin} Recogniser {chosen.transcriber}, opened once in {opened_s:.1f} s; seconds are"
        " the"
        " median. Word errors by words said; a clip in which nothing is understood counts in full."
    )
    parts = [
        note,
        report.table(columns, rows),
        "Understood most often:",
        report.table(("understood", "said", "clips"), shown),
    ]
    report.publish("Transcripts", "transcripts", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
