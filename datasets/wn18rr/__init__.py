"""The builder of `wn18rr`, in the layout of TensorFlow Datasets."""
