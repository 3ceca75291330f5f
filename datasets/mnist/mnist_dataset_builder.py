"""MNIST, from its four IDX files."""

from etils import epath

from kd_jax.datasets.official.families import IdxBuilder


class Builder(IdxBuilder):
  """70,000 handwritten digits; see README.md."""

  name = "kd_jax_mnist"
  LABELS = {"label": 10}  # noqa: RUF012
  HOMEPAGE = "https://storage.googleapis.com/cvdf-datasets/mnist/"
  pkg_dir_path = epath.Path(__file__).parent
