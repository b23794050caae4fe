"""Run folders: a trained model on disk, its checkpoints and scores."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
