"""The Q-Score's configuration.

The paper's values stand in each field's line; where they differ from the
defaults, the defaults are those of small encoders.
"""

import dataclasses

from kd_jax import experiment
from kd_jax.methods import ssl
from kd_jax.methods.qscore import validate


@dataclasses.dataclass(frozen=True)
class DiscoveryConfig:
  """Which coordinates are discriminative.

  Attributes:
    eps: how many of its own deviations a coordinate must be above an example's
      mean; the paper's is 4. 0 takes the largest of 4, 3, 2.5, 2, 1.5, 1 that
      leaves few training examples without a score.
    low: the band's lower percentile; the paper's is 50.
    high: its upper one; the paper's is 95.
    most_empty: with `eps` 0, the share of training examples that may be left
      without a score.
  """

  eps: float = 0.0
  low: float = 50.0
  high: float = 95.0
  most_empty: float = 0.05


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
  """The linear probes that say what is right, on unit representations.

  Attributes:
    kind: "ridge" (solved) or "softmax" (L-BFGS, its penalty chosen on a part of
      the training set); the paper trains a softmax for 100 epochs. Subsets are
      always judged by ridge.
    l2: ridge's penalty on weights of standardised coordinates.
    penalties: how many the softmax chooses from.
    steps: of its L-BFGS.
  """

  kind: str = "ridge"
  l2: float = 1e-2
  penalties: int = 8
  steps: int = 50


@dataclasses.dataclass(frozen=True)
class StudyConfig:
  """How much of the representation is kept.

  Attributes:
    kept: shares of its coordinates; the paper speaks of .6.
    draws: random subsets of each size; the paper's are 4.
  """

  kept: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
  draws: int = 4


@dataclasses.dataclass(frozen=True)
class HeatConfig:
  """Heatmaps and their overlap with masks; the paper says nothing of these.

  Attributes:
    combine: an image's coordinates by "mean" or "max".
    region: the heatmap is where it exceeds this share of its maximum.
    threshold: a mask is where it exceeds this.
    shown: images in a figure's row.
    masks: the data set whose test images have the masks, by name, for an
      encoder of other images ("salient_imagenet"). Its classes may be numbered
      otherwise, so that right and wrong ones are not told apart. Empty: the
      encoder's own test images, if they have masks.
  """

  combine: str = "mean"
  region: float = 0.5
  threshold: float = 0.5
  shown: int = 8
  masks: str = ""


@dataclasses.dataclass(frozen=True)
class TuneConfig:
  """Fine-tuning with the regulariser, and its controls.

  Attributes:
    steps: of fine-tuning; the paper's are 50 epochs.
    optimizer: one of ssl's; the paper's is LARS. With the usual one a rate of
      1e-5 moves nothing; "lars_clipped" is then plain descent at that rate.
    learning_rate: the highest; the paper's is 1e-5.
    warmup: the part of the steps in which it rises; then it falls along a
      cosine.
    gain: lambda_1; the paper's is 1e-4.
    columns: lambda_2; the paper's is 1e-4, of a sum that nothing divides.
    balanced_gain: lambda_1 of the balanced arm, whose columns are meaned.
    balanced_columns: lambda_2 of it.
    strong: lambda_1 of the arms that show what it does alone.
    lasso: the weight of the lasso; the paper does not say. It is of
      representations as they are, summed over the views.
    normalize: whether the other penalties see unit representations.
    top_if_empty: see `losses.q_score_loss`.
  """

  steps: int = 100
  optimizer: str = "adamw"
  learning_rate: float = 2e-4
  warmup: float = 0.1
  gain: float = 1e-4
  columns: float = 1e-4
  balanced_gain: float = 0.5
  balanced_columns: float = 1.0
  strong: float = 10.0
  lasso: float = 1e-4
  normalize: bool = True
  top_if_empty: bool = False


_ENCODER = ssl.Config()


@dataclasses.dataclass(frozen=True)
class Config(experiment.Config):
  """Measures a representation.

  Attributes:
    arms: which of the method's arms run. "own" measures representations that
      are there; the others train an encoder and fine-tune it.
    features: the representations of "own": "planted" (generated codes whose
      discriminative coordinates are known) or an `.npz` of your own with
      train_features (n, r), train_labels (n), test_features, test_labels, and
      if you have them test_correct (what your own probe gets right), test_maps
      (n, u, v, r), test_core and test_spurious (n, h, w), test_image.
    examples: of planted codes, in each split.
    learner: the self-supervised method that trains the encoder, an arm of ssl.
    encoder: how: ssl's own configuration (its seed and arms are this run's).
    run: in the place of training one, the folder of a finished run of ssl: its
      arm `learner` is measured and fine-tuned, and its configuration is the
      encoder's, whatever `encoder` says. The same images must be there.
    tune: fine-tuning.
    discovery: which coordinates are discriminative.
    probe: what says which examples are right.
    study: how much is kept.
    heat: heatmaps.
  """

  arms: tuple[str, ...] = ("own",)
  features: str = "planted"
  examples: int = 4000
  learner: str = "simclr"
  encoder: ssl.Config = _ENCODER
  run: str = ""
  tune: TuneConfig = TuneConfig()
  discovery: DiscoveryConfig = DiscoveryConfig()
  probe: ProbeConfig = ProbeConfig()
  study: StudyConfig = StudyConfig()
  heat: HeatConfig = HeatConfig()

  def __post_init__(self):
    """Checks names and ranges.

    Raises:
      UsageError: one sentence for the first field that is wrong.
    """
    super().__post_init__()
    validate.check(self)
