"""Registers every custom layer with Keras, so that saved models can be loaded."""

from __future__ import annotations

import importlib

from affectstream.core import registry

# Modules with layers that have no entry in the registry.
_FURTHER = (
    "affectstream.modeling.models.fused_model",
    "affectstream.modeling.features.audio.window",
    "affectstream.modeling.models.speed_tta",
    "affectstream.modeling.encoders.temporal_pooling",
)


def register_custom_objects() -> None:
    """Imports each module that registers a layer; a second call costs nothing."""
    for module in _FURTHER:
        importlib.import_module(module)
    for kind in ("features", "encoders", "fusions"):
        for name in registry.names(kind):
            registry.load(kind, name)
    for name in registry.names("transforms"):
        if registry.entry("transforms", name).stream == "features":
            registry.load("transforms", name)
