"""Data sets as records with a known source, honest splits, audit, and tf.data pipelines."""
