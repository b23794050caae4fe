"""Encoders: features of one stream -> an embedding; and what encoders share."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
