"""CIFAR-100-C: CIFAR-100's test images under common corruptions."""

from etils import epath

from kd_jax.datasets.official.families import CorruptedBuilder


class Builder(CorruptedBuilder):
  """19 corruptions in 5 severities, each a split; see README.md."""

  LABELS = {"label": 100}  # noqa: RUF012
  FOLDERS = {"CIFAR-100-C.tar": "CIFAR-100-C"}  # noqa: RUF012
  HOMEPAGE = "https://zenodo.org/records/3555552"
  pkg_dir_path = epath.Path(__file__).parent
