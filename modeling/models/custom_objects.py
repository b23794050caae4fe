"""Makes every layer of ours known to Keras, so that a saved model can be read."""

from __future__ import annotations

import importlib

from affectstream.core import registry

# Layers that stand behind no row of the registry.
_FURTHER = (
    "affectstream.modeling.models.fused_model",
    "affectstream.modeling.features.audio.window",
    "affectstream.modeling.models.speed_tta",
    "affectstream.modeling.encoders.temporal_pooling",
)


def know_all_layers() -> None:
    """Imports each module that registers a layer; a second call costs nothing."""
    for module in _FURTHER:
        importlib.import_module(module)
    for kind in ("features", "encoders", "fusions"):
        for name in registry.names(kind):
            registry.load(kind, name)
    for name in registry.names("transforms"):
        if registry.entry("transforms", name).stream == "features":
            registry.load("transforms", name)
