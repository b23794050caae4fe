"""Reads a bundle for TensorFlow Serving without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectstream.core.errors import UserError, from_os_error
from affectstream.serving.exported.version_folder import version_numbers

MODELS = "models"
MODELS_CONFIG = "models.config"


@dataclass(frozen=True)
class ServingBundle:
    """A bundle for TensorFlow Serving.

    Attributes:
      name: of the model.
      home: folder of its versions.
      versions: version numbers, ascending.
      labels: label -> version, as in `models.config`: `stable`, `canary`.
      num_latest: number of newest versions to serve; None serves all, or those in `specific`.
      specific: version numbers to serve, even if their folders are missing; None allows any.
    """

    name: str
    home: Path
    versions: tuple[int, ...]
    labels: dict[str, int]
    num_latest: int | None = None
    specific: tuple[int, ...] | None = None

    @property
    def served_versions(self) -> tuple[int, ...]:
        """The versions to be served, ascending."""
        if self.specific is not None:
            return tuple(number for number in self.versions if number in self.specific)
        return self.versions if self.num_latest is None else self.versions[-self.num_latest :]

    @property
    def missing_versions(self) -> tuple[int, ...]:
        """Versions that should be served but do not exist, ascending."""
        return tuple(sorted({*(self.specific or ())} - {*self.versions}))


def is_bundle(folder: Path) -> bool:
    """Whether `folder` is a bundle: at least one export into it has finished."""
    return (folder / MODELS_CONFIG).is_file()


def read_bundle(folder: Path) -> ServingBundle:
    """Reads `models.config` and lists the versions that exist.

    Raises:
      UserError: not a ModelServerConfig of one model, or none of its versions exists.
    Source: tensorflow/serving, tensorflow_serving/config/model_server_config.proto.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    file = folder / MODELS_CONFIG
    try:
        text = file.read_text(encoding="utf-8")
        parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except OSError as error:
        raise from_os_error(error, file) from error
    except (UnicodeDecodeError, text_format.ParseError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{file}: no ModelServerConfig ({first}); export into it again") from error
    configs = parsed.model_config_list.config
    if len(configs) != 1 or not configs[0].name:
        raise UserError(
            f"{file}: {len(configs)} models where a bundle has one, with a name;"
            " export into it again"
        )
    name = configs[0].name
    home = folder / MODELS / name
    versions = version_numbers(home) if Path(name).name == name else []
    if not versions:
        raise UserError(f"{folder}: no version of {name} below {MODELS}; export into it again")
    labels = dict(configs[0].version_labels)
    policy = configs[0].model_version_policy
    return ServingBundle(name, home, tuple(versions), labels, *_asked_for(policy))


def _asked_for(policy: Any) -> tuple[int | None, tuple[int, ...] | None]:
    """Returns (number of newest versions, chosen versions) of a version policy.

    Source: tensorflow/serving, sources/storage_path/file_system_storage_path_source.cc: without a
      policy, the newest version is served.
    """
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return None, None
    if kind == "specific":
        return None, tuple(policy.specific.versions)
    return max(policy.latest.num_versions, 1), None


def bundle_model_name(folder: Path) -> str | None:
    """Name of the model in a bundle; None if it has none yet."""
    models = folder / MODELS
    homes = sorted(models.iterdir()) if models.is_dir() else []
    return next((home.name for home in homes if version_numbers(home)), None)
