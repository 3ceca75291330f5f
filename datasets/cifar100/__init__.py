"""The builder of `cifar100`, in the layout of TensorFlow Datasets."""
