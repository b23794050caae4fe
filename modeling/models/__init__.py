"""Models of one stream and of several, from raw inputs to logits."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
