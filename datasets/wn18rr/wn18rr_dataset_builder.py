"""WN18RR: WordNet without its inverse relations."""

from etils import epath

from kd_jax.datasets.graphs.builder import FilesBuilder


class Builder(FilesBuilder):
  """Three splits of triples; see README.md."""

  SIZES = (40_943, 11, 86_835, 3034, 3134)
  HOMEPAGE = "https://github.com/DeepGraphLearning/KnowledgeGraphEmbedding"
  pkg_dir_path = epath.Path(__file__).parent
