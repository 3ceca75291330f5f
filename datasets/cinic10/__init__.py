"""The builder of `cinic10`, in the layout of TensorFlow Datasets."""
