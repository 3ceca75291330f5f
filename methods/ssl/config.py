"""The configuration of all eight methods: what they share, and what differs.

What differs stands in `Settings`, whose values come from a recipe (a published
set of hyperparameters, `recipes`) unless they are given here.
"""

import dataclasses

from kd_jax import experiment
from kd_jax.methods.ssl import validate


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """What is looked at.

  Attributes:
    images: a data set's name, a folder of class folders or an `.npz`.
    labelled: whether there are labels. They train no encoder but the supervised
      one's; without them nothing but the collapse monitors is measured.
    val_images: training images that settings are chosen on; a fifth at most.
    image_size: height and width that a folder or named data set is resized to;
      0 leaves them as they are.
    view_size: height and width of a view; 0 takes the image's. A smaller view
      costs less, and images are resized to it for evaluation, too.
    mean: subtracted from pixels in [0, 1]; one number, or one per channel.
    std: what they are divided by then; likewise.
    flip: whether views are mirrored at random.
    streamed: images stay on the host, and go to the devices batch by batch:
      "auto" does so if they take more than 40 % of a device's memory (4 GB on a
      CPU), "always" or "never". Bits are the same.
  """

  images: str = "mnist_5k"
  labelled: bool = True
  val_images: int = 500
  image_size: int = 0
  view_size: int = 0
  mean: tuple[float, ...] = (0.13,)
  std: tuple[float, ...] = (0.31,)
  flip: bool = False
  streamed: str = "auto"


@dataclasses.dataclass(frozen=True)
class NetConfig:
  """The encoder.

  Attributes:
    name: one of `kd_jax.backbones.NAMES`; the published ones are resnet18 (with
      a stem for 32x32) and resnet50.
    widths: channels per layer of a small_cnn.
    strides: its strides.
  """

  name: str = "small_cnn"
  widths: tuple[int, ...] = (24, 48, 96, 256)
  strides: tuple[int, ...] = (2, 2, 1, 2)


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
  """How representations are judged.

  Attributes:
    labels: training images whose labels neighbours and probes know; 0 is all of
      them.
    neighbours: of weighted kNN; 20 in DINO and solo-learn, 200 in MoCo's
      notebook and lightly's CIFAR-10.
    temperature: of its votes; .07 and .1 there.
    penalties: how many L2 weights, 1e-6 to 1e5, the L-BFGS probe chooses from.
    iterations: of L-BFGS for each.
    steps: of the linear probe by SGD, on frozen features of augmented images
      (a phase of its own); 0 leaves it out. solo-learn has 100 epochs.
    batch_size: of it.
    online_rate: Adam's for the classifier that is trained beside the encoder,
      on features through which no gradient goes back.
  """

  labels: int = 0
  neighbours: int = 20
  temperature: float = 0.07
  penalties: int = 45
  iterations: int = 50
  steps: int = 0
  batch_size: int = 256
  online_rate: float = 0.003


@dataclasses.dataclass(frozen=True)
class Settings:
  """What differs between methods. None takes the recipe's value.

  Attributes:
    optimizer: sgd, lars (eta .001), lars_clipped (eta .02), adam or adamw.
    learning_rate: the highest.
    rate_batch: it is multiplied by the batch size over this; 0 leaves it.
    weight_decay: of arrays with two axes or more (of all with sgd and adam, as
      PyTorch's do).
    momentum: of sgd and lars.
    warmup: the part of the training in which the rate rises.
    final_rate: the part of the rate that is left at the end.
    bias_rate: a factor of the rate of arrays with one axis (Barlow Twins).
    predictor_constant: whether the predictor's rate does not decay (SimSiam).
    views: one of `views.VIEWS`.
    projector: layers of the projector (`heads`): "r bn relu, 128".
    predictor: layers of the predictor; "" is none.
    prototypes: of SwAV and DINO.
    temperature: of contrasts, and of a student's outputs.
    teacher_temperature: of a teacher's outputs.
    teacher_temperature_start: where it begins.
    teacher_warmup: the part of the training in which it rises from there.
    ema: what the slow network keeps of itself in a step, at first.
    ema_end: and at the end, along a cosine.
    queue: embeddings of earlier batches that are kept.
    queue_start: the part of the training after which SwAV's is used.
    epsilon: weight of the codes' entropy.
    iterations: of Sinkhorn and Knopp; 0 takes a softmax in its place.
    freeze: the part of the training in which prototypes are held.
    clip: each gradient array is shortened to this norm; 0 does not.
    centre: what DINO's centre keeps of itself; 1 never moves it from 0.
    invariance: VICReg's weight.
    variance: VICReg's weight; 0 collapses.
    covariance: VICReg's weight.
    off_diagonal: Barlow Twins' weight.
    scale: factor of the loss.
    stop_gradient: whether targets are constants. If not, the target network is
      the online one.
    local_negatives: whether a device's images are contrasted with its own alone
      (SimCLR, MoCo v3); an ablation, one device sees no difference.
    local_statistics: whether batch norms see a device's rows alone; likewise.
    joint_statistics: whether views of one size are one batch to batch norms;
      else each view is normalised by itself.
    probe_rate: the SGD probe's learning rate, for a batch of 256.
  """

  optimizer: str | None = None
  learning_rate: float | None = None
  rate_batch: int | None = None
  weight_decay: float | None = None
  momentum: float | None = None
  warmup: float | None = None
  final_rate: float | None = None
  bias_rate: float | None = None
  predictor_constant: bool | None = None
  views: str | None = None
  projector: str | None = None
  predictor: str | None = None
  prototypes: int | None = None
  temperature: float | None = None
  teacher_temperature: float | None = None
  teacher_temperature_start: float | None = None
  teacher_warmup: float | None = None
  ema: float | None = None
  ema_end: float | None = None
  queue: int | None = None
  queue_start: float | None = None
  epsilon: float | None = None
  iterations: int | None = None
  freeze: float | None = None
  clip: float | None = None
  centre: float | None = None
  invariance: float | None = None
  variance: float | None = None
  covariance: float | None = None
  off_diagonal: float | None = None
  scale: float | None = None
  stop_gradient: bool | None = None
  local_negatives: bool | None = None
  local_statistics: bool | None = None
  joint_statistics: bool | None = None
  probe_rate: float | None = None


@dataclasses.dataclass(frozen=True)
class Config(experiment.NetworkConfig):
  """Self-supervised methods.

  Attributes:
    arms: which methods, controls and collapses run.
    recipe: where settings come from: "small", "digits", "lightly", "solo",
      "imagenet100" or "imagenet".
    data: what is looked at.
    net: the encoder.
    probe: how it is judged.
    settings: what is to differ from the recipe, in every arm.
    steps: training steps.
    batch_size: images per step over all devices (each gives two views or more).
    score_batch_size: images encoded at a time in evaluation.
  """

  arms: tuple[str, ...] = ("random", "simclr", "byol", "vicreg", "supervised")
  recipe: str = "small"
  data: DataConfig = DataConfig()
  net: NetConfig = NetConfig()
  probe: ProbeConfig = ProbeConfig()
  settings: Settings = Settings()
  steps: int = 200
  batch_size: int = 96
  score_batch_size: int = 250

  def __post_init__(self):
    """Checks names and ranges; `validate.check` what several fields say.

    Raises:
      UsageError: one sentence for the first field that is wrong.
    """
    super().__post_init__()
    validate.check_fields(self)
