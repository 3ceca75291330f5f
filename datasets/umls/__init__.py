"""The builder of `umls`, in the layout of TensorFlow Datasets."""
