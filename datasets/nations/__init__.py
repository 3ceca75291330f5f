"""The builder of `nations`, in the layout of TensorFlow Datasets."""
