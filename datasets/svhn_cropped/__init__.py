"""The builder of `svhn_cropped`, in the layout of TensorFlow Datasets."""
