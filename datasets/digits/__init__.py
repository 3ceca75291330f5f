"""The builder of `digits`, in the layout of TensorFlow Datasets."""
