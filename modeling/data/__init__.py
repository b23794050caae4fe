"""tf.data pipelines over records, array data sets, the feature cache."""

from affectstream.core import tf_setup

tf_setup.import_tensorflow()
