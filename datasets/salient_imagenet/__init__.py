"""The builder of `salient_imagenet`, in the layout of TensorFlow Datasets."""
