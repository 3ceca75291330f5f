"""Relations between 14 countries, out of PyKEEN's wheel."""

from etils import epath

from kd_jax.datasets.graphs.builder import WheelBuilder


class Builder(WheelBuilder):
  """Three splits of triples; see README.md."""

  SIZES = (14, 55, 1592, 199, 201)
  pkg_dir_path = epath.Path(__file__).parent
