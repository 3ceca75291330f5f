"""Fashion-MNIST, from its four IDX files."""

from etils import epath

from kd_jax.datasets.official.families import IdxBuilder


class Builder(IdxBuilder):
  """70,000 articles of clothing; see README.md."""

  name = "kd_jax_fashion_mnist"
  LABELS = {  # noqa: RUF012
    "label": [
      "T-shirt/top",
      "Trouser",
      "Pullover",
      "Dress",
      "Coat",
      "Sandal",
      "Shirt",
      "Sneaker",
      "Bag",
      "Ankle boot",
    ]
  }
  HOMEPAGE = "https://github.com/zalandoresearch/fashion-mnist"
  pkg_dir_path = epath.Path(__file__).parent
