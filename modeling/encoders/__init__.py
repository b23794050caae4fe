"""Encoders: features of one stream -> an embedding; and shared building blocks."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
