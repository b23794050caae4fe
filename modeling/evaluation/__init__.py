"""A finished run answers for a data folder, and is scored."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
