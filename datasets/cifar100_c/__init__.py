"""The builder of `cifar100_c`, in the layout of TensorFlow Datasets."""
