"""A small tree in the format of IEMOCAP's release; of the corpus itself nothing is here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.support.factories import tone, write_media, write_sound

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"
WORDS = {
    "ang": "Anger",
    "hap": "Happiness",
    "exc": "Excited",
    "sad": "Sadness",
    "fru": "Frustration",
    "fea": "Fear",
    "sur": "Surprise",
    "neu": "Neutral",
    "dis": "Disgust",
    "xxx": "Other",
    "oth": "Other",
}


def turn_lines(turn: str, emotion: str, start_s: float, end_s: float) -> str:
    """A turn with three evaluators, two of whom name the consensus, and the actor himself."""
    other = "Neutral" if emotion == "sad" else "Sadness"
    return (
        f"[{start_s:.4f} - {end_s:.4f}]\t{turn}\t{emotion}\t[2.5000, 3.0000, 3.5000]\n"
        f"C-E1:\t{WORDS[emotion]};\t()\n"
        f"C-E2:\t{WORDS[emotion]}; {other};\t(a comment)\n"
        f"C-E4:\t{other};\t()\n"
        f"C-F1:\t{other};\t()\n"
        "A-E3:\tval 3; act 2; dom  2;\t()\n"
        "A-F1:\tval 3; act 2; dom  ;\t()\n"
    )


def evaluation_file(root: Path, dialogue: str) -> Path:
    return root / f"Session{int(dialogue[3:5])}/dialog/EmoEvaluation/{dialogue}.txt"


def transcription_file(root: Path, dialogue: str) -> Path:
    return root / f"Session{int(dialogue[3:5])}/dialog/transcriptions/{dialogue}.txt"


def wav_file(root: Path, turn: str) -> Path:
    dialogue = turn.rpartition("_")[0]
    return root / f"Session{int(turn[3:5])}/sentences/wav/{dialogue}/{turn}.wav"


def avi_file(root: Path, dialogue: str) -> Path:
    return root / f"Session{int(dialogue[3:5])}/dialog/avi/DivX/{dialogue}.avi"


def write_dialogue(
    root: Path, dialogue: str, emotions: Sequence[str], duration_s: float = 0.5, hz: float = 200.0
) -> list[str]:
    """Both actors say a turn of each emotion, first the woman's turns; the names of the turns."""
    turns = [
        (f"{dialogue}_{sex}{number:03d}", emotion)
        for sex in "FM"
        for number, emotion in enumerate(emotions)
    ]
    blocks, said = [HEADER], []
    for place, (turn, emotion) in enumerate(turns):
        start_s = 1.0 + place * duration_s
        blocks.append(turn_lines(turn, emotion, start_s, start_s + duration_s))
        said.append(f"{turn} [{start_s:08.4f}-{start_s + duration_s:08.4f}]: This is {turn}.\n")
        write_sound(wav_file(root, turn), tone(duration_s, hz=hz + 17 * place), 16_000)
    for path, text in (
        (evaluation_file(root, dialogue), "\n".join(blocks)),
        (transcription_file(root, dialogue), "".join(said)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [turn for turn, _ in turns]


def write_release(
    root: Path,
    num_sessions: int = 2,
    emotions: Sequence[str] = ("ang", "hap", "sad", "neu"),
    acting: Sequence[str] = ("F_impro01", "M_script01_1"),
) -> Path:
    """Sessions of one dialogue for each of `acting`."""
    for session in range(1, num_sessions + 1):
        for place, words in enumerate(acting):
            hz = 150.0 + 500 * session + 250 * place
            write_dialogue(root, f"Ses{session:02d}{words}", emotions, hz=hz)
    return root


def write_video(root: Path, dialogue: str, pictures: Sequence[object]) -> Path:
    """The dialogue's video, 25 frames a second, as MPEG-4 in AVI."""
    path = avi_file(root, dialogue)
    return write_media(path, pictures, codec="mpeg4")  # type: ignore[arg-type]
