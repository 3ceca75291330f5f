"""The builder of `mnist_5k`, in the layout of TensorFlow Datasets."""
