"""The builder of `kinships`, in the layout of TensorFlow Datasets."""
