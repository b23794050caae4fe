"""Single-stream models and fused models, from raw inputs to logits."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
