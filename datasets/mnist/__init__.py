"""The builder of `mnist`, in the layout of TensorFlow Datasets."""
