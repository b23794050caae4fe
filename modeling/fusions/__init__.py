"""Fusions: logits and embeddings of the streams -> one prediction."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
