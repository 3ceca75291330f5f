"""OTE's configuration: every ablation is a field.

The paper's values stand in each field's line; where they differ from the
defaults, the defaults are those of small graphs.
"""

import dataclasses

from kd_jax import experiment
from kd_jax.methods.ote import validate


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """What scores a triple.

  Attributes:
    name: "ote" (orthogonal blocks), "linear" (the same blocks, unconstrained),
      "rotate", "transe", "distmult" or "complex".
    width: d, numbers per entity (a complex one is two); the paper's is 400.
    block: K, the size of the blocks of "ote" and "linear"; the paper's is 20 on
      FB15k-237 and 4 on WN18RR.
    scale: of the blocks' coordinates: "exp" is the paper's, "abs" and "none".
    scale_side: "input" scales before the rotation, as the authors' code does,
      "output" after it, as the paper's formula does.
    handedness: "free" keeps the reflections that initial blocks hold, as the
      paper does; "rotation" turns each block to determinant +1.
    init_range: entities (and the relations of the plain models) start uniform
      in plus or minus this; the authors' is 0.01, and 0 stands for
      (margin + 2) / width, as in RotatE.
    context: what the arms with context have: "mean_self" (a mean with the
      entity itself, the paper's text), "gat_dummy" (attention and a learned
      dummy neighbour, the authors' code) or "none".
    neighbours: "graph", or "random": a control whose entities have as many
      neighbours as before, drawn at random.
    remove_targets: leave a batch's own triples out of its context, as the
      paper does. False shows what leaks.
  """

  name: str = "ote"
  width: int = 64
  block: int = 8
  scale: str = "exp"
  scale_side: str = "input"
  handedness: str = "free"
  init_range: float = 0.0
  context: str = "mean_self"
  neighbours: str = "graph"
  remove_targets: bool = True


@dataclasses.dataclass(frozen=True)
class StageConfig:
  """A stretch of training; arms with context go through two.

  Attributes:
    steps: optimizer steps, half of them predicting tails, half heads; the
      paper's are 250,000, and 60,000 with context.
    batch_size: triples per step over all devices; the paper's are 500 and 100.
    negatives: entities drawn per triple; the paper's is 256.
    margin: gamma; the paper's are 15 and 12 on FB15k-237, 5 and 10 on WN18RR.
      Dot products (DistMult, ComplEx) do without.
    temperature: alpha, how much harder negatives count more; the paper's are
      0.5 and 1.4 on FB15k-237, 1.8 and 0.5 on WN18RR. 0 counts all alike.
    learning_rate: Adam's first; the paper's are 2e-3 and 2e-4 on FB15k-237,
      1e-3 and 3e-5 on WN18RR.
    decay_every: steps after which the learning rate is multiplied by `decay`,
      again and again; 0 for never. The paper's are 25,000 and 8,000.
    decay: the paper's is 0.5.
    valid_every: steps between two looks at the validation triples; 0 for none.
      The paper's are 10,000 and 5,000.
  """

  steps: int = 4000
  batch_size: int = 256
  negatives: int = 64
  margin: float = 8.0
  temperature: float = 1.0
  learning_rate: float = 1e-2
  decay_every: int = 1000
  decay: float = 0.5
  valid_every: int = 500


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """What is minimised, beside what a stage says.

  Attributes:
    subsampling: weigh a triple by one over the root of how often its pairs
      occur, as the paper does.
    balance: rho, the negatives' weight beside the positives' 1; the paper's
      is 1.
    l3: weight of the cubes of all entities' and relations' numbers, for
      DistMult and ComplEx; RotatE's authors take 1e-5 (5e-6 on WN18RR).
    filter_negatives: draw none that are true training triples, as the paper
      does.
  """

  subsampling: bool = True
  balance: float = 1.0
  l3: float = 0.0
  filter_negatives: bool = True


@dataclasses.dataclass(frozen=True)
class Config(experiment.Config):
  """OTE and GC-OTE.

  A step of the loop is a pair: one optimizer step that predicts tails, one that
  predicts heads. `log_every`, `eval_every` and `save_every` count pairs; the
  stages' numbers are optimizer steps, as in the paper.

  Attributes:
    arms: which of the method's arms run.
    graph: what is learned from: "kinships", "umls", "nations", "fb15k237",
      "wn18rr", "yago3_10", "families" (generated), "NAME:1000" (its 1,000
      entities of largest degree), a folder with train, valid and test files, or
      one file of triples.
    model: what scores.
    loss: what is minimised.
    first: training without context.
    second: training with it, from where the first stage ended; the control
      without context goes on as long.
    own: (arm, field, number) where an arm's differs, for example
      ("rotate", "first.margin", 9.0).
    keep: which parameters count: the "best" on validation triples (by filtered
      MRR), as in the paper, or the "last".
    eval_queries: questions ranked at a time.
    eval_bytes: memory that their candidates may take in one piece, in bytes.
    shard_entities: divide the entities' rows over the devices, for tables that
      are larger than one.
  """

  arms: tuple[str, ...] = ("transe", "rotate", "ote", "ote_more", "gc_ote")
  graph: str = "kinships"
  model: ModelConfig = ModelConfig()
  loss: LossConfig = LossConfig()
  first: StageConfig = StageConfig()
  second: StageConfig = StageConfig(
    steps=1000, learning_rate=5e-3, decay_every=250, valid_every=250
  )
  own: tuple[tuple[str, str, float], ...] = ()
  keep: str = "best"
  eval_queries: int = 128
  eval_bytes: int = 2**26
  shard_entities: bool = False

  def __post_init__(self):
    """Checks names and ranges; `validate.check` what several fields say.

    Raises:
      UsageError: one sentence for the first field that is wrong.
    """
    super().__post_init__()
    validate.check_fields(self)
