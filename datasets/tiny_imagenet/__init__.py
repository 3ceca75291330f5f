"""The builder of `tiny_imagenet`, in the layout of TensorFlow Datasets."""
