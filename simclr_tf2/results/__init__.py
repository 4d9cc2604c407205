"""What was measured, as data: records, files, tables. Needs no TensorFlow."""
