"""Predicts a data folder with a finished run and scores the predictions."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
