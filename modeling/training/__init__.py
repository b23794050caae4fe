"""Training a stream and training a fusion."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
