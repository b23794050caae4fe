"""Cross-validation over folds of whole speakers, and leakage scenarios."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
