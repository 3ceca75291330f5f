"""The builder of `cifar10`, in the layout of TensorFlow Datasets."""
