"""The builder of `fashion_mnist`, in the layout of TensorFlow Datasets."""
