"""FB15k-237: Freebase without its inverse relations."""

from etils import epath

from kd_jax.datasets.graphs.builder import FilesBuilder


class Builder(FilesBuilder):
  """Three splits of triples; see README.md."""

  SIZES = (14_541, 237, 272_115, 17_535, 20_466)
  HOMEPAGE = "https://github.com/DeepGraphLearning/KnowledgeGraphEmbedding"
  pkg_dir_path = epath.Path(__file__).parent
