"""The builder of `cifar10_c`, in the layout of TensorFlow Datasets."""
