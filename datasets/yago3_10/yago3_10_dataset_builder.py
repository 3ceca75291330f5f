"""YAGO3-10: entities of YAGO3 with ten relations or more."""

from etils import epath

from kd_jax.datasets.graphs.builder import FilesBuilder


class Builder(FilesBuilder):
  """Three splits of triples; see README.md."""

  SIZES = (123_182, 37, 1_079_040, 5000, 5000)
  HOMEPAGE = "https://github.com/TimDettmers/ConvE"
  pkg_dir_path = epath.Path(__file__).parent
