"""The builder of `fb15k237`, in the layout of TensorFlow Datasets."""
