"""A chain depends on seed, epoch and record only; a recipe's text becomes transforms."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from affectstream.core.errors import UserError
from affectstream.data_augmentation.audio.gain import Gain
from affectstream.data_augmentation.audio.noise import Noise
from affectstream.data_augmentation.audio.speed import Speed
from affectstream.data_augmentation.audio.time_shift import TimeShift
from affectstream.data_augmentation.chain import (
    Chain,
    keyed_rng,
    parse_transforms,
    transforms_of_stream,
)
from affectstream.data_augmentation.image.flip import Flip
from affectstream.data_augmentation.mixup import Mixup
from affectstream.data_augmentation.text.typo import Typo
from affectstream.data_augmentation.text.word_dropout import WordDropout
from affectstream.data_augmentation.text.word_swap import WordSwap
from tests import ROOT

RATE_HZ = 16000
WAVE = (0.2 * np.sin(np.arange(4000) / 9)).astype(np.float32)
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
FOUR = (Noise(), Speed(), TimeShift(), Gain())


def in_a_fresh_process(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


# === Chance ===


def test_the_result_does_not_depend_on_the_order_of_records() -> None:
    keys = [(epoch, f"clip{number}") for epoch in (0, 1) for number in range(6)]
    forwards = {key: Chain(FOUR, seed=3)(WAVE, RATE_HZ, key) for key in keys}
    chain = Chain(FOUR, seed=3)
    for key in reversed(keys):
        np.testing.assert_array_equal(chain(WAVE, RATE_HZ, key), forwards[key])
    assert len({result.tobytes() for result in forwards.values()}) >= len(keys) - 2
    assert chain.sample_all(WAVE, RATE_HZ, keys[0]) != Chain(FOUR, seed=4).sample_all(
        WAVE, RATE_HZ, keys[0]
    )


def test_a_neighbour_changes_nothing_that_is_drawn() -> None:
    noise, gain = Noise(probability=1.0), Gain(probability=1.0)
    alone = Chain((gain,)).sample_all(WAVE, RATE_HZ, (2, "a"))
    beside = Chain((noise, gain)).sample_all(WAVE, RATE_HZ, (2, "a"))
    assert beside[1:] == alone
    twice = Chain((gain, gain)).sample_all(WAVE, RATE_HZ, (2, "a"))
    assert twice[0] == alone[0]
    assert twice[1] != twice[0]


def test_streams_are_drawn_independently() -> None:
    """What befalls the sound says nothing of what befalls the picture of the same clip."""
    sound, picture = Chain((Gain(),)), Chain((Flip(),))
    pairs = [
        (
            sound.sample_all(WAVE, RATE_HZ, (0, str(number)))[0][1] is None,
            picture.sample_all(FRAMES, None, (0, str(number)))[0][1] is None,
        )
        for number in range(100)
    ]
    assert min(pairs.count((a, b)) for a in (True, False) for b in (True, False)) >= 10


def test_the_key_is_stable_across_processes() -> None:
    code = (
        "from affectstream.data_augmentation.chain import keyed_rng;"
        "print(keyed_rng(1, 2, 'ravdess/é', 'noise#0').integers(2**62))"
    )
    printed = [in_a_fresh_process(code) for _ in range(2)]
    assert {int(text) for text in printed} == {
        int(keyed_rng(1, 2, "ravdess/é", "noise#0").integers(2**62))
    }
    assert len({keyed_rng(a, b, "", "").integers(2**62) for a in range(4) for b in range(4)}) == 16


def test_probability_is_that_of_the_fields() -> None:
    chain = Chain((Gain(probability=0.3),), seed=8)
    drawn = [chain.sample_all(WAVE, RATE_HZ, (0, str(n)))[0][1] for n in range(1000)]
    assert sum(parameters is not None for parameters in drawn) == pytest.approx(300, abs=50)


# === Applying ===


def test_what_was_drawn_can_be_stored_and_applied_again() -> None:
    chain = Chain(tuple(type(transform)(probability=1.0) for transform in FOUR), seed=5)
    drawn = chain.sample_all(WAVE, RATE_HZ, (0, "a"))
    assert [name for name, _ in drawn] == ["noise", "speed", "time_shift", "gain"]
    stored = [(name, parameters) for name, parameters in json.loads(json.dumps(drawn))]
    np.testing.assert_array_equal(
        chain.apply_all(WAVE, RATE_HZ, stored), chain(WAVE, RATE_HZ, (0, "a"))
    )
    with pytest.raises(ValueError, match="other transforms"):
        chain.apply_all(WAVE, RATE_HZ, stored[:2])


def test_the_transforms_apply_in_their_order() -> None:
    chain = Chain((Gain(), TimeShift()))
    result = chain.apply_all(
        WAVE, RATE_HZ, [("gain", {"gain_db": 20 * np.log10(2)}), ("time_shift", None)]
    )
    np.testing.assert_allclose(result, 2 * WAVE, rtol=1e-6)
    loud_then_soft = Chain((Gain(), Gain())).apply_all(
        WAVE, RATE_HZ, [("gain", {"gain_db": 40.0}), ("gain", {"gain_db": -40.0})]
    )
    assert np.abs(loud_then_soft).max() == pytest.approx(0.01, rel=1e-3)  # held at 1 in between


def test_empty_signals_and_empty_chains_change_nothing() -> None:
    always = Chain((Noise(probability=1.0), Speed(probability=1.0)))
    empty = np.zeros(0, np.float32)
    assert always(empty, RATE_HZ, (0, "a")) is empty
    assert always.sample_all(empty, RATE_HZ, (0, "a")) == [("noise", None), ("speed", None)]
    assert Chain(())(WAVE, RATE_HZ, (0, "a")) is WAVE


def test_text_goes_through_a_chain() -> None:
    """Each transform counts the words that those before it left."""
    text = "one two three four five six seven eight"
    chain = Chain(
        (
            WordDropout(share=0.5, probability=1.0),
            WordSwap(share=0.5, probability=1.0),
            Typo(share=1.0, probability=1.0),
        ),
        seed=2,
    )
    results = {number: chain(text, None, (0, f"clip{number}")) for number in range(30)}
    assert len(set(results.values())) == 30
    for number in reversed(range(30)):
        key = (0, f"clip{number}")
        drawn = json.loads(json.dumps(chain.sample_all(text, None, key)))
        assert chain.apply_all(text, None, drawn) == results[number] == chain(text, None, key)
        kept = 8 - len(drawn[0][1]["dropped"])
        assert len(results[number].split()) == kept


def test_a_text_without_a_word_draws_nothing() -> None:
    always = Chain((WordDropout(probability=1.0), Typo(probability=1.0)))
    for text in ("", " \n"):
        assert always.sample_all(text, None, (0, "a")) == [("word_dropout", None), ("typo", None)]
        assert always(text, None, (0, "a")) is text


def test_what_a_chain_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Gain \(audio\), Typo \(text\)"):
        Chain((Gain(), Typo()))
    with pytest.raises(ValueError, match=r"Gain \(audio\), Flip \(video\)"):
        Chain((Gain(), Flip()))
    with pytest.raises(ValueError, match=r"Mixup \(batch\)"):
        Chain((Mixup(),))
    with pytest.raises(ValueError, match="needs sample_rate_hz, received None"):
        Chain((Gain(probability=1.0),))(WAVE, None, (0, "a"))


# === Recipe text ===


def test_text_becomes_transforms() -> None:
    parsed = parse_transforms(
        " noise:min_snr_db=5:max_snr_db=25:probability=0.25, speed,time_shift:wrap=TRUE ,flip,mixup"
    )
    assert parsed == (
        Noise(min_snr_db=5.0, max_snr_db=25.0, probability=0.25),
        Speed(),
        TimeShift(wrap=True),
        Flip(),
        Mixup(),
    )
    assert isinstance(parsed[0].min_snr_db, float)
    assert transforms_of_stream(parsed, "audio") == parsed[:3]
    assert transforms_of_stream(parsed, "batch") == (Mixup(),)
    words = parse_transforms("word_swap:neighbours_only=true:share=0.2,flip,typo:min_letters=4")
    assert transforms_of_stream(words, "text") == (
        WordSwap(neighbours_only=True, share=0.2),
        Typo(min_letters=4),
    )
    assert parse_transforms("") == parse_transforms("  ") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("noize", "no transforms named 'noize'; known: noise, speed"),
        ("noise,,speed", "a name is missing; known: noise"),
        ("noise:snr=5", "'snr=5'.*probability, min_snr_db, max_snr_db"),
        ("noise:min_snr_db", "'min_snr_db'.*parameter=value"),
        ("noise:min_snr_db=loud", "min_snr_db=loud: must be a number"),
        ("noise:min_snr_db=nan", "min_snr_db=nan: must be a number"),
        ("noise:min_snr_db=50", "noise: min_snr_db must not exceed max_snr_db.*50.0 and 30.0"),
        ("gain:probability=2", "gain: probability must lie in.*2.0"),
        ("gain:min_gain_db=-3:min_gain_db=-4", "min_gain_db is given twice"),
        ("time_shift:wrap=1", "wrap=1: must be true or false"),
    ],
)
def test_wrong_text_is_one_line_that_names_the_known(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        parse_transforms(text)
    assert "\n" not in str(caught.value)


def test_parsing_and_augmenting_import_no_tensorflow() -> None:
    code = (
        "import sys; import numpy as np; from affectstream.core import registry;"
        "from affectstream.data_augmentation.chain import Chain, parse_transforms;"
        "rows = registry.TABLE['transforms'];"
        "names = [name for name, row in rows.items() if row.stream == 'audio'];"
        "chain = Chain(parse_transforms(','.join(name + ':probability=1' for name in names)));"
        "chain(np.ones(99, np.float32), 16000, (0, 'a'));"
        "print(bool(names) and not {'tensorflow', 'keras', 'librosa'} & set(sys.modules))"
    )
    assert in_a_fresh_process(code).strip() == "True"
