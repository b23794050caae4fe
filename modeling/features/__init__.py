"""Features, computed in the graph from the contents of records."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
