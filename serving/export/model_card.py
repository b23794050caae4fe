"""Model card: data, limitations, legal note and scores of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, registry
from affectstream.core.templates import render

CARD = "MODEL_CARD.md"
# TensorFlow Serving reads only the warm-up file in this folder.
CARD_OF_VERSION = Path("assets.extra") / CARD
# Keys of `metrics.json` that the card shows.
CARD_SCORES = (
    *("data", "split", "uar", "uar_ci95", "uar_ci95_note", "wa", "macro_f1", "ece", "num_clips"),
    *("num_speakers", "leak_allowed", "used_for_selection", "per_corpus"),
)
Evaluations = Sequence[Mapping[str, Any]]

LEGAL_NOTE = (
    "Article 5(1)(f) of the EU AI Act (Regulation (EU) 2024/1689) forbids AI systems that infer the"
    " emotions of people from biometric data, such as face and voice, at work and in education,"
    " except for medical or safety reasons. Other uses may count as high-risk, and people must be"
    " told that such a system looks at them (Article 50(3)). This is a reminder, not legal advice."
)
LIMITATIONS = (
    "It names how a short stretch looks, sounds or reads to a model that learned from labelled"
    " recordings. It does not know what anybody feels.",
    "Most corpora are acted; acted is not felt emotion, and a model of actors does worse on people"
    " in daily life.",
    "It knows the speakers, ages, languages, cameras and microphones of its data and no others; it"
    " was not tested for equal quality over groups of people.",
    "Its shares were calibrated on its own validation part; on other recordings a share of 0.9 need"
    " not be right nine times in ten.",
    "It always names one of its labels, also where none fits.",
)


def model_card(
    config: dict[str, Any],
    evaluations: Evaluations | None = None,
    name: str = "",
    version: int | None = None,
) -> str:
    """The model card as Markdown.

    Args:
      config: `assets/config.json` of an export, or `client_config` of a run.
      evaluations: `read_evaluations` of each run; None uses those stored in `config`.
      name: served name of the model.
      version: of the export.
    """
    title = name or "Model card"
    if version is not None:
        title += f" {version}" if name else f", version {version}"
    evaluated = list(evaluations or config.get("evaluation", ()))
    encoder = config["recipe"].get("encoder", "")
    weights = _pretrained(config) if encoder else "none"
    return render(
        "affectstream.serving.export",
        "model_card.md.j2",
        title=title,
        config=config,
        leaked=[_named(one) for one in evaluated if one.get("leak_allowed")],
        legal_note=LEGAL_NOTE,
        limitations=LIMITATIONS,
        scores=list(_scores(config, evaluated)),
        is_tested=any(one.get("split") in ("test", "all") for one in evaluated),
        are_parts_evaluated=any(part.get("evaluation") for part in config["stream_info"].values()),
        weights=weights if weights != "none" else "",
        weights_licence=encoder and (registry.entry("encoders", encoder).licence or "not stated"),
    )


def read_evaluations(run: Path) -> list[dict[str, Any]]:
    """Scores of a run for each evaluated data set and split, as shown on the card.

    Raises:
      UserError: a file is damaged.
    """
    from affectstream.modeling.runs.score_store import read_scores

    return [card_scores(scores) for scores in read_scores(run).values()]


def card_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The scores shown on the card; data sets are named without their paths."""
    from affectstream.modeling.runs.score_store import data_name

    kept = {key: scores.get(key) for key in CARD_SCORES}
    return kept | {"data": [data_name(path) for path in scores.get("data") or ()]}


def write_card(
    saved: Path, config: dict[str, Any], name: str = "", version: int | None = None
) -> None:
    """Writes the card into an exported version, so that both are copied together."""
    (saved / CARD_OF_VERSION).parent.mkdir(exist_ok=True)
    atomic_io.write_text(saved / CARD_OF_VERSION, model_card(config, name=name, version=version))


def _scores(
    config: dict[str, Any], evaluations: Sequence[Mapping[str, Any]]
) -> Iterator[list[str]]:
    """Rows of the table: evaluations, then validation, then validation of each stream."""
    for one in evaluations:
        yield from _score_rows(_named(one), one)
    if config["scores"]:  # a calibrated fusion without training has none
        chose = config["recipe"]["training"]["keep_epoch"] == "best"
        text = "by which the epoch was picked" if chose else "on which the temperature was fitted"
        corpora = _of(data["corpus"] for data in config["data"])
        yield _score_row(f"validation{corpora}, {text}", validation_scores(config["scores"]))
    for stream, part in config["stream_info"].items():
        for one in part.get("evaluation", ()):
            yield from _score_rows(f"{_named(one)}, {stream} alone", one)
        corpora = _of(part.get("corpora", ()))
        scores = validation_scores(part["scores"])
        yield _score_row(f"validation{corpora}, {stream} alone", scores)


def validation_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The validation scores of an epoch, without the prefix `val_`."""
    return {k.removeprefix("val_"): v for k, v in scores.items() if k.startswith("val_")}


def training_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The training scores of an epoch, measured while it ran."""
    return {k: v for k, v in scores.items() if not k.startswith("val_") and k != "epoch"}


def _named(scores: Mapping[str, Any]) -> str:
    """Split and data of an evaluation, and the reason why it is not a fair test, if any."""
    data, corpora = scores.get("data") or (), scores.get("per_corpus") or {}
    named = f"{scores.get('split', 'evaluation')}{_of(data or corpora)}"
    if data and corpora and {*data} != {*corpora}:
        named += f" ({' + '.join(corpora)})"
    if scores.get("leak_allowed"):
        return f"{named}, LEAK ALLOWED"
    return (
        f"{named}, epoch or temperature chosen on it" if scores.get("used_for_selection") else named
    )


def _of(names: Iterable[str]) -> str:
    text = " + ".join(dict.fromkeys(names))
    return f" of {text}" if text else ""


def _score_rows(part: str, scores: Mapping[str, Any]) -> Iterator[list[str]]:
    """Rows for all data and, with several corpora, for each; only the latter have intervals."""
    corpora = scores.get("per_corpus") or {}
    if len(corpora) < 2:
        yield _score_row(part, scores)
        return
    yield _score_row(f"{part}, all", {**scores, "uar_ci95": None})
    for corpus, own in corpora.items():
        yield _score_row(f"{part}, of these {corpus}", own)


def _score_row(part: str, scores: Mapping[str, Any]) -> list[str]:
    def cell(key: str) -> str:
        value = scores.get(key)
        return f"{value:.3f}" if isinstance(value, float) else str(value if value else "-")

    interval = scores.get("uar_ci95")
    uar = cell("uar") + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
    rest = [cell(key) for key in ("wa", "macro_f1", "ece", "num_clips", "num_speakers")]
    return [part, uar, *rest]


def _pretrained(config: dict[str, Any]) -> str:
    """Pretrained weights of the encoder; for a run they follow from its recipe."""
    if "pretrained" in config:
        return str(config["pretrained"])
    from affectstream.modeling.recipes.recipe import recipe_from_json  # imports TensorFlow

    return recipe_from_json(config["recipe"]).pretrained
