"""The configuration: every ablation is a field.

The paper's values stand in each field's line, where it gives them.
"""

import dataclasses

from kd_jax import experiment
from kd_jax.methods.hyper_ensembles import validate


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Images, and how they are divided.

  Attributes:
    name: a data set, an `.npz` or a folder (or the role "images" in Python).
      digits and mnist_5k are divided anew for each seed, others have a test
      part of their own.
    train: training images; 0 takes all that validation and test leave.
    val: images for selection and for tuning, not trained on. The paper's are 5
      % of CIFAR, 10,000 of MNIST.
    wrong: share of the training labels that are drawn anew, at random.
    mean: of the pixels in [0, 1], a channel or for all.
    std: of the pixels.
    augment: random shifts by 2 pixels and mirroring (CIFAR).
    foreign: a data set of the same shape that is none of the classes (CIFAR's
      is svhn_cropped); without it, images glued from halves.
    corrupted: a data set with a split for each corruption and severity
      (cifar10_c, cifar100_c); without it noise, blur and shift, made on the
      device.
  """

  name: str = "digits"
  train: int = 400
  val: int = 200
  wrong: float = 0.0
  mean: tuple[float, ...] = (0.0,)
  std: tuple[float, ...] = (1.0,)
  augment: bool = False
  foreign: str = ""
  corrupted: str = ""


@dataclasses.dataclass(frozen=True)
class HyperConfig:
  """Networks that tune themselves: hyper-batch ensembles and STN.

  Attributes:
    longer: their steps over the others'.
    tune: whether the bounds of lambda are tuned, or stay where they start.
    tau: weight of the entropy; the paper's is 1e-3.
    every: training steps to a tuning step; the paper's is 3.
    warmup: training steps before the first; the paper's is 0.
    batch: validation images in a tuning step.
    rate: of Adam on the bounds; the paper's is 1e-3, over many more steps.
    bounds: where they start: "full" (MLP and LeNet), "inner" (ResNets) or
      "narrow" (the released code).
    rows: a lambda of each "example" (the paper's), or one a "batch".
    loss: of the weights, "gibbs" (the paper's) or "ensemble".
    tied: whether u = r and v = s (the paper's WRN).
    fast_init: as `Config.fast_init`; the paper's is -0.75.
    regularize_fast: whether fast weights enter the L2 (the paper's WRN: no).
    embed_scale: first weights of e(lambda); the paper's WRN has 1e-4.
    embed_hidden: hidden layers of e(lambda); the paper's WRN has none, its MLP
      and LeNet have some.
    norm_l2: as `Config.norm_l2`; the paper's is 15.
    symmetric: whether e sees lambda in [-1, 1]; the paper's WRN sees [0, 1].
    samples: lambdas drawn of each member, beside its mean, to predict with.
  """

  longer: float = 2.0
  tune: bool = True
  tau: float = 1e-3
  every: int = 3
  warmup: int = 0
  batch: int = 64
  rate: float = 5e-2
  bounds: str = "full"
  rows: str = "example"
  loss: str = "gibbs"
  tied: bool = True
  fast_init: float = -0.5
  regularize_fast: bool = False
  embed_scale: float = 1e-2
  embed_hidden: tuple[int, ...] = ()
  norm_l2: float = 15.0
  symmetric: bool = True
  samples: int = 0


@dataclasses.dataclass(frozen=True)
class Config(experiment.Config):
  """Ensembles over weights and hyperparameters.

  Attributes:
    arms: which arms run.
    seeds: runs, from `seed` on, all in one program: splits, orders and
      initial values are theirs.
    model: "mlp", "lenet", "resnet20" or "wrn28_10".
    widths: hidden layers of the mlp; the paper's are not known.
    members: K; the paper's is 3, and 4 of a WRN.
    runs: kappa of the random search; the paper's is 50, and 100 of a WRN.
    tuned: which hyperparameters vary: "l2", "dropout", "smoothing".
    l2_range: of a group's L2, of the whole data set (divided by N in the loss);
      the paper's is [1e-3, 1e3], and [1e-2, 1e2] of a WRN.
    dropout_range: of the rate before a layer; the paper's is [1e-3, 0.9].
    smoothing_range: of the labels; the paper's is [1e-5, 0.2].
    l2: where it is not tuned.
    dropout: where it is not tuned.
    smoothing: where it is not tuned.
    norm_l2: of the batch norms of single networks and batch ensembles, of the
      whole data set; the paper's is 9.5 (CIFAR-10) and 4.75 (CIFAR-100).
    objective: of the greedy selection: "nll" (the paper's), "error",
      "nll_and_error".
    steps: of one training.
    batch_size: images of a step, for each member.
    optimizer: "adam" or "sgd" (Nesterov's momentum of 0.9).
    learning_rate: the first one.
    schedule: "cosine", or "stairs": a fifth of it at each of `stairs`.
    warmup: steps of the warm-up.
    stairs: where the rate falls, as parts of all steps.
    fast_rate: what the updates of fast weights are scaled by; the paper's is
      0.5 (on gradients, which is the same for sgd and nothing for adam).
    fast_init: of batch ensembles: N(1, |x|), or above 0 the chance of +1
      against -1; the paper's is -0.5.
    dtype: of the products; parameters and losses are float32.
    data: the images.
    hyper: hyper-batch ensembles.
  """

  arms: tuple[str, ...] = (
    "single",
    "deep",
    "hyper_deep",
    "batch",
    "hyper_batch",
  )
  seeds: int = 4
  model: str = "mlp"
  widths: tuple[int, ...] = (64, 64)
  members: int = 3
  runs: int = 30
  tuned: tuple[str, ...] = ("l2", "dropout")
  l2_range: tuple[float, float] = (1e-3, 10.0)
  dropout_range: tuple[float, float] = (1e-3, 0.7)
  smoothing_range: tuple[float, float] = (1e-5, 0.2)
  l2: float = 1.0
  dropout: float = 0.0
  smoothing: float = 0.0
  norm_l2: float = 15.0
  objective: str = "nll"
  steps: int = 1000
  batch_size: int = 64
  optimizer: str = "adam"
  learning_rate: float = 3e-3
  schedule: str = "cosine"
  warmup: int = 0
  stairs: tuple[float, ...] = (0.3, 0.6, 0.8)
  fast_rate: float = 0.5
  fast_init: float = -0.5
  dtype: str = "float32"
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  hyper: HyperConfig = dataclasses.field(default_factory=HyperConfig)
  log_every: int = 100
  save_every: int = 1000

  def __post_init__(self):
    """Checks names and ranges.

    Raises:
      UsageError: one sentence for the first field that is wrong.
    """
    super().__post_init__()
    validate.check_fields(self)
