"""Kinship terms of the Alyawarra, out of PyKEEN's wheel."""

from etils import epath

from kd_jax.datasets.graphs.builder import WheelBuilder


class Builder(WheelBuilder):
  """Three splits of triples; see README.md."""

  SIZES = (104, 25, 8544, 1068, 1074)
  pkg_dir_path = epath.Path(__file__).parent
