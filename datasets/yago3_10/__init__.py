"""The builder of `yago3_10`, in the layout of TensorFlow Datasets."""
