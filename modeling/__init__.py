"""Features in the graph, encoders, fusions, training and evaluation.

TensorFlow is imported by the rooms that need it, not by recipes and metrics.
"""

from affectstream.core import tf_setup

tf_setup.set_onednn_defaults()
