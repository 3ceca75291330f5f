"""The builder of `mnist_rotated`, in the layout of TensorFlow Datasets."""
