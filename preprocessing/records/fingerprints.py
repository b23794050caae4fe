"""Fingerprints of each clip's inputs; a later run uses them to find up-to-date records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, storage_paths
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.faces.action_units import ActionUnitTrack


def input_fingerprints(
    clips: Sequence[Clip], tracks: Mapping[str, ActionUnitTrack]
) -> dict[str, str]:
    """Clip key -> digest of its files' sizes and times, its metadata and its action units."""
    sizes: dict[Path, str] = {}

    def size(path: Path) -> str:
        if path not in sizes:
            sizes[path] = storage_paths.file_fingerprint(path)
        return sizes[path]

    def told_of(clip: Clip) -> dict[str, Any]:
        facts = {**dataclasses.asdict(clip), "path": size(clip.path)}
        if clip.pictures is not None:
            facts["pictures"] = {**facts["pictures"], "path": size(clip.pictures.path)}
        facts["others"] = [told_of(other) for other in clip.others]
        return facts

    states = {}
    for clip in clips:
        told = told_of(clip)
        if clip.key in tracks:
            told["action_units"] = tracks[clip.key].digest
        states[clip.key] = atomic_io.digest(told)
    return states
