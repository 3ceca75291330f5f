"""The builder of `imagenet64`, in the layout of TensorFlow Datasets."""
