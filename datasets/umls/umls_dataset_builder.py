"""Relations between biomedical concepts, out of PyKEEN's wheel."""

from etils import epath

from kd_jax.datasets.graphs.builder import WheelBuilder


class Builder(WheelBuilder):
  """Three splits of triples; see README.md."""

  SIZES = (135, 46, 5216, 652, 661)
  pkg_dir_path = epath.Path(__file__).parent
