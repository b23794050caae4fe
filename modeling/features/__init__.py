"""Features, computed in the graph from what records hold."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
