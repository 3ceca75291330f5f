"""OTE: knowledge graphs by orthogonal relations and the context of the graph.

Source: Tang, Huang, Wang, He and Zhou, Orthogonal Relation Transforms with
Graph Context Modeling for Knowledge Graph Embedding, ACL 2020, arXiv
1911.04910.
"""

from kd_jax.datasets.graphs.reading import FILE_NAMES
from kd_jax.experiment import Method
from kd_jax.methods.ote.answers import QUERY
from kd_jax.methods.ote.arms import PRESETS
from kd_jax.methods.ote.cases import CASES
from kd_jax.methods.ote.claim import ARMS, CLAIMS, TRIED
from kd_jax.methods.ote.config import Config as Config
from kd_jax.methods.ote.plots import plots
from kd_jax.methods.ote.train import apply, files, phases

METHOD = Method(
  name="ote",
  title="Orthogonal Relation Transforms with Graph Context Modeling for "
  "Knowledge Graph Embedding",
  task="knowledge graphs: predicting the missing head or tail of a triple",
  presets=PRESETS,
  phases=phases,
  main="gc_ote",
  headline={
    "test_mrr": "MRR",
    "test_hits1": "Hits@1",
    "test_hits10": "Hits@10",
    "test_mr": "mean rank",
  },
  arms={
    "transe": "translations",
    "distmult": "products of coordinates",
    "complex": "products of complex numbers",
    "rotate": "rotations of complex numbers",
    "ote": "orthogonal blocks, without context",
    "ote_k2": "ote with blocks of 2",
    "ote_k4": "ote with blocks of 4",
    "ote_k8": "ote with blocks of 8",
    "ote_k10": "ote with blocks of 10",
    "ote_k16": "ote with blocks of 16",
    "ote_k20": "ote with blocks of 20",
    "ote_no_scale": "ote without scales",
    "ote_abs_scale": "ote, scales by absolute values",
    "ote_output_scale": "ote, scales after the rotation",
    "ote_rotation": "ote, every block a rotation",
    "ote_uniform": "ote, all negatives count alike",
    "linear": "blocks without orthogonality",
    "gc_ote": "ote, and then with context",
    "gc_ote_mean": "ote, and then with a mean of neighbours",
    "gc_ote_gat": "ote, and then with attention and a dummy neighbour",
    "gc_ote_random": "ote, and then with random neighbours",
    "gc_ote_last": "gc_ote, its last parameters",
    "gc_ote_leak": "gc_ote_last, a batch's own triples left in its context",
    "ote_more": "ote, and then as many steps again as gc_ote has",
    "gc_rotate": "rotate, and then with context",
    "rotate_more": "rotate, and then as many steps again as gc_rotate has",
  },
  claims=CLAIMS,
  # The cut's on one core; `reproduce` on one that was shared.
  minutes={
    "tiny": 0.5,
    "small": 2.5,
    "small reproduce": 7.0,
    "fb15k237_mini": 4.5,
    "fb15k237_mini reproduce": 10.0,
  },
  data="Kinships (pykeen wheel, MIT); families (generated); umls, nations, "
  "fb15k237, wn18rr, yago3_10; or your own: --graph",
  reproduce_arms=ARMS,
  settings_tried=TRIED,
  cases=CASES,
  apply=apply,
  plots=plots,
  files=files,
  file_names=FILE_NAMES,
  answers={"query": QUERY},
  divided=("first.batch_size", "second.batch_size", "eval_queries"),
)
