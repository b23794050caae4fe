"""The model card: what it tells, and where it lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from affectstream.core import atomic_io
from affectstream.modeling.recipes.text import BERT_TEXT
from affectstream.modeling.runs.run_folder import RUN, read_run
from affectstream.serving.export.model_card import CARD, CARD_OF_VERSION, model_card
from affectstream.serving.export.savedmodel_export import export_config
from affectstream.serving.exported.version_folder import read_config
from tests.support.models import LABELS


def test_card(bundle: Path, words_bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# both 2\n")
    for wanted in ("Article 5(1)(f)", "acted is not felt", "CC0 1.0", ", ".join(LABELS)):
        assert wanted in card
    assert "SYNTHETIC" not in card and "LEAK" not in card
    assert "not evaluated on a test part" in card
    assert "SYNTHETIC" in (words_bundle / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_card_with_scores_and_stamps(bundle: Path) -> None:
    config = json.loads((bundle / "models/both/2/assets/config.json").read_text(encoding="utf-8"))
    scores = {
        "data": ["mine"],
        "split": "test",
        "uar": 0.5,
        "uar_ci95": [0.4, 0.61],
        "wa": 0.25,
        "macro_f1": 0.45,
        "ece": 0.1,
        "num_clips": 40,
        "num_speakers": 4,
        "leak_allowed": False,
    }
    card, audio = model_card(config, [scores]), config["stream_info"]["audio"]
    assert "| test of mine | 0.500 (0.400 to 0.610) | 0.250 | 0.450 | 0.100 | 40 | 4 |" in card
    assert f"| validation of toy, audio alone | {audio['scores']['val_uar']:.3f}" in card
    assert "LEAK" not in card
    leaked = model_card(config, [scores, scores | {"split": "train", "leak_allowed": True}])
    assert "scored on what it was trained on (train of mine, LEAK ALLOWED)" in leaked
    assert "| test of mine | 0.500" in leaked and "| train of mine, LEAK ALLOWED | 0.5" in leaked
    chosen = model_card(config, [scores | {"split": "validation", "used_for_selection": True}])
    assert "| validation of mine, epoch or temperature chosen on it | 0.500" in chosen
    assert "It was not evaluated on a test part" in chosen
    assert "across a crossing" in model_card(config | {"leak_allowed": True})


def test_card_of_parts_that_were_evaluated(bundle: Path) -> None:
    config = read_config(bundle / "models/both/2")
    own = {"split": "test", "uar": 0.3, "uar_ci95": [0.2, 0.4], "ece": 0.08, "num_clips": 7}
    parts = {
        **config["stream_info"],
        "audio": {**config["stream_info"]["audio"], "evaluation": [own]},
    }
    card = model_card(config | {"stream_info": parts})
    assert "| test, audio alone | 0.300 (0.200 to 0.400) | - | - | 0.080 | 7 | - |" in card
    assert "Its parts were evaluated, the whole was not on a test part" in card


def test_card_of_several_corpora_has_an_interval_for_each(bundle: Path) -> None:
    config = read_config(bundle / "models/both/2")
    whole = {"split": "test", "uar": 0.3, "uar_ci95": [0.2, 0.4], "num_clips": 7}
    one = {"uar": 0.5, "uar_ci95": [0.4, 0.6], "num_clips": 5, "num_speakers": 4}
    other = {"uar": 0.1, "uar_ci95": None, "num_clips": 2, "num_speakers": 1}
    card = model_card(config, [{**whole, "per_corpus": {"one": one, "other": other}}])
    assert "| test of one + other, all | 0.300 | - | - | - | 7 | - |" in card
    assert (
        "| test of one + other, of these one | 0.500 (0.400 to 0.600) | - | - | - | 5 | 4 |" in card
    )
    assert "| test of one + other, of these other | 0.100 | - | - | - | 2 | 1 |" in card
    alone = model_card(config, [{**whole, "per_corpus": {"one": one}}])
    assert "| test of one | 0.300 (0.200 to 0.400) |" in alone and "of these" not in alone
    named = model_card(config, [{**whole, "data": ["mine"], "per_corpus": {"one": one}}])
    assert "| test of mine (one) | 0.300 (0.200 to 0.400) |" in named


def test_card_says_what_validation_was_used_for(words_bundle: Path) -> None:
    (version,) = words_bundle.glob("models/*/*/assets")
    config = read_config(version.parent)
    recipe = config["recipe"]
    chosen = {**recipe, "training": {**recipe["training"], "keep_epoch": "best"}}
    assert "| validation of toy, by which the epoch was picked |" in model_card(
        config | {"recipe": chosen}
    )
    kept_last = {**recipe, "training": {**recipe["training"], "keep_epoch": "last"}}
    last = model_card(config | {"recipe": kept_last})
    assert "| validation of toy, on which the temperature was fitted |" in last
    assert "picked" not in last


def test_card_of_what_begins_from_published_weights(bundle: Path) -> None:
    config = read_config(bundle / "models/both/2")
    recipe = BERT_TEXT.as_json() | {"encoder_settings": {"weights": "/some/bert"}}
    wanted = "published weights (/some/bert), licence: Apache-2.0"
    assert wanted in model_card(config | {"recipe": recipe, "pretrained": "/some/bert"})
    as_written_down = model_card(config | {"recipe": recipe})  # with pretrained "none"
    assert "It begins from published weights" not in as_written_down
    del config["pretrained"]  # of a run: told by its recipe
    assert wanted in model_card(config | {"recipe": recipe})


# === Where it lies ===


def test_it_goes_with_each_version(bundle: Path, exported: Path) -> None:
    cards = [bundle / "models" / "both" / number / CARD_OF_VERSION for number in "12"]
    first, second = (card.read_text(encoding="utf-8") for card in cards)
    assert first.startswith("# both 1\n")
    assert second == (bundle / CARD).read_text(encoding="utf-8")
    alone = (exported / "1" / CARD_OF_VERSION).read_text(encoding="utf-8")
    assert alone.startswith("# Model card, version 1\n")
    assert alone.partition("\n")[2] == first.partition("\n")[2]


def test_it_tells_the_scores_that_the_run_had_when_it_was_exported(
    fusion_run: Path, tmp_path: Path
) -> None:
    shutil.copy(fusion_run / RUN, tmp_path / RUN)
    config = export_config(tmp_path, read_run(tmp_path))
    assert config["evaluation"] == []
    assert "not evaluated on a test part" in model_card(config)
    atomic_io.write_json(
        tmp_path / "evaluation" / "data-test" / "metrics.json",
        {"split": "test", "uar": 0.5, "num_clips": 9, "leak_allowed": True, "per_speaker": {}},
    )
    atomic_io.write_json(
        tmp_path / "evaluation" / "mine-test" / "metrics.json",
        {"split": "test", "data": ["/home/me/mine"], "uar": 0.25, "num_clips": 8},
    )
    config = export_config(tmp_path, read_run(tmp_path))
    assert "per_speaker" not in config["evaluation"][0]
    card = model_card(config)
    assert "| test, LEAK ALLOWED | 0.500 | - | - | - | 9 | - |" in card
    assert "| test of mine | 0.250 | - | - | - | 8 | - |" in card and "/home" not in card
    assert "scored on what it was trained on" in card
    assert "not evaluated" not in card
