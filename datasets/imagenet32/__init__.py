"""The builder of `imagenet32`, in the layout of TensorFlow Datasets."""
