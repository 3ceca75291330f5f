"""The builder of `cluttered_mnist`, in the layout of TensorFlow Datasets."""
