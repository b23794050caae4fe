"""tf.data pipelines over records, array data sets, the feature cache."""
