"""Features in the graph, encoders, fusions, training and evaluation."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
