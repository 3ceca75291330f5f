"""KD^3's configuration: every ablation is a field, every arm a change of fields.

The paper's values stand in each field's line; where they differ from the
defaults, the defaults are those of small images.
"""

import dataclasses
import math
from typing import Any

from kd_jax import backbones, experiment
from kd_jax.errors import UsageError

# The published schedules, for 240 epochs; ours are rescaled to `epochs`.
PAPER_EPOCHS = 240
ALPHA_CUT = 120
ALPHA_LENGTH = 160
ALPHA_RATE = 5.0


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """What the teacher learned from, and what the student is given.

  Attributes:
    original: the original task, labelled: a data set's name, a folder or an
      `.npz`. "digits_0_4" is the embedded one, five digits of MNIST-5k.
    web: the web images, labels not needed, likewise. "shifted_digits" is the
      embedded one, and goes with "digits_0_4" only.
    train_images: embedded: original images that the teacher learns from.
    val_images: embedded: original images that settings are chosen on.
    test_images: embedded: original images that results are reported on.
    relevant: embedded: other images of the original task, put on the web.
    copies: embedded: shifted copies of each training image that the teacher
      sees beside the clean one.
    quota: embedded: irrelevant web images per class that the teacher takes them
      for, at most (a query per class finds about as many each).
    halves: embedded: images glued from halves, per irrelevant image.
    mean: subtracted from pixels in [0, 1]; one number, or one per channel.
    std: what they are divided by then; likewise.
    max_shift: training images are shifted at random by up to so many pixels.
    flip: whether they are mirrored at random too. (The paper crops and resizes
      its web images at random, and mirrors them.)
  """

  original: str = "digits_0_4"
  web: str = "shifted_digits"
  train_images: int = 1000
  val_images: int = 300
  test_images: int = 700
  relevant: int = 500
  copies: int = 6
  quota: int = 800
  halves: int = 3
  mean: tuple[float, ...] = (0.13,)
  std: tuple[float, ...] = (0.28,)
  max_shift: int = 1
  flip: bool = False


@dataclasses.dataclass(frozen=True)
class NetConfig:
  """A network.

  Attributes:
    name: one of `kd_jax.backbones.NAMES`; the paper's pair is resnet34 and
      resnet18.
    widths: channels per layer of a small_cnn.
    strides: its strides.
  """

  name: str = "small_cnn"
  widths: tuple[int, ...] = (32, 64, 64)
  strides: tuple[int, ...] = (2, 2, 1)


@dataclasses.dataclass(frozen=True)
class SelectConfig:
  """Which web images an epoch trains on.

  Attributes:
    rule: "classwise" is the paper's, conf > tau of the predicted class; "fixed"
      has p_cutoff for every class; "top_k" takes the `count` most confident,
      "random" any `count`; "all" takes every image and still logs the scores;
      "none" takes every image and never scores them.
    blend: whose logits: "schedule" is the paper's alpha(t), "teacher" alpha = 1,
      "student" alpha = 0.
    repeat: select anew before each epoch; False selects once, before the first.
    count: images that "top_k" and "random" take.
    p_cutoff: the largest threshold; the paper's is 0.95.
  """

  rule: str = "classwise"
  blend: str = "schedule"
  repeat: bool = True
  count: int = 900
  p_cutoff: float = 0.95


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """What the student minimises.

  Attributes:
    classifier: "shared" sends the student's projected features through the
      teacher's frozen classifier, "own" is a head of its own.
    feature_weight: of the weighted feature alignment; the paper's is 1.
    weighting: of its images: "sigmoid" is the paper's (those on which student
      and teacher differ count more), "none" or "one_minus_minmax".
    kl_weight: of the divergence of softened predictions; 0 in the paper.
    kl_temperature: softens them.
    noisy_weight: of the teacher's argmax seen through a learned noise matrix
      (DFND); 0 in the paper.
    noisy_rate: Adam's learning rate for that matrix.
    mix: what an image is contrasted with: "distribution" is the paper's
      MixDistribution, "noise" adds noise, "none" leaves contrast out.
    mix_weight: of the contrast; the paper's is 0.001.
    mix_concentration: of Beta(a, a) in MixDistribution; the paper's is 0.1.
    mix_noise: standard deviation of "noise", of normalised pixels.
    temperature: of the contrast; the paper's is 0.3.
    cross: adds the contrast of student with teacher embeddings, which the
      paper's words may mean and its code has not.
    embedding: length of the contrasted embeddings; the paper's is 128.
    projector_factor: the projector is this many times narrower than the
      teacher's features; the paper's is 2.
  """

  classifier: str = "shared"
  feature_weight: float = 1.0
  weighting: str = "sigmoid"
  kl_weight: float = 0.0
  kl_temperature: float = 4.0
  noisy_weight: float = 0.0
  noisy_rate: float = 1e-3
  mix: str = "distribution"
  mix_weight: float = 0.001
  mix_concentration: float = 0.1
  mix_noise: float = 0.3
  temperature: float = 0.3
  cross: bool = False
  embedding: int = 128
  projector_factor: int = 2


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """SGD with momentum, and its learning rate over time.

  Attributes:
    learning_rate: the first one; the paper's is 0.05.
    momentum: the paper's is 0.9.
    weight_decay: of every parameter; the paper's is 5e-4.
    schedule: "drops" multiplies by 0.1 at `drops`, "cosine" falls to 0.
    drops: parts of the training; the paper drops after 150, 180 and 210 of 240.
  """

  learning_rate: float = 0.05
  momentum: float = 0.9
  weight_decay: float = 5e-4
  schedule: str = "drops"
  drops: tuple[float, ...] = (0.625, 0.75, 0.875)


@dataclasses.dataclass(frozen=True)
class Config(experiment.Config):
  """KD^3.

  Attributes:
    arms: which of `ARMS` run.
    data: what is learned from.
    teacher: the teacher's network.
    student: the student's network.
    select: which web images an epoch trains on.
    loss: what the student minimises.
    teacher_steps: the teacher's training steps.
    teacher_optim: the teacher's optimizer.
    epochs: selections, and the length of every schedule; the paper's is 240.
    epoch_steps: steps after each selection. The paper makes one pass over what
      is selected; here every arm takes equally many steps, however much it has
      selected, going through its selection again or leaving some for later.
    optim: the optimizer of a student that learns features.
    kl_learning_rate: the first learning rate of one that learns predictions.
    batch_size: images per step over all devices; the paper's is 1024 (64 for
      the teacher).
    score_batch_size: images scored at a time in selection and evaluation.
  """

  arms: tuple[str, ...] = ("kd_all", "kd_random", "kd3", "kd_original")
  data: DataConfig = DataConfig()
  teacher: NetConfig = NetConfig()
  student: NetConfig = NetConfig(widths=(8, 16, 16))
  select: SelectConfig = SelectConfig()
  loss: LossConfig = LossConfig()
  teacher_steps: int = 500
  teacher_optim: OptimConfig = OptimConfig(0.1, schedule="cosine")
  epochs: int = 20
  epoch_steps: int = 40
  optim: OptimConfig = OptimConfig(0.3)
  kl_learning_rate: float = 0.1
  batch_size: int = 128
  score_batch_size: int = 500

  def __post_init__(self):
    """Checks names and ranges.

    Raises:
      UsageError: one sentence for the first field that is wrong.
    """
    for name, choices in _CHOICES.items():
      value = _get(self, name)
      if value not in choices:
        raise UsageError(f"{name} is {value!r}; it is one of {list(choices)}")
    for name, low, high in _RANGES:
      value = _get(self, name)
      if not low <= value <= high:
        limit = f"at least {low}" if high == math.inf else f"{low} to {high}"
        raise UsageError(f"{name} is {value}; it must be {limit}")


_TINY = 1e-12
_CHOICES = {
  "teacher.name": tuple(backbones.NAMES),
  "student.name": tuple(backbones.NAMES),
  "select.rule": ("classwise", "fixed", "top_k", "random", "all", "none"),
  "select.blend": ("schedule", "teacher", "student"),
  "loss.classifier": ("shared", "own"),
  "loss.weighting": ("sigmoid", "none", "one_minus_minmax"),
  "loss.mix": ("distribution", "noise", "none"),
  "teacher_optim.schedule": ("drops", "cosine"),
  "optim.schedule": ("drops", "cosine"),
}
_RANGES = (
  ("data.train_images", 1, math.inf),
  ("data.val_images", 1, math.inf),
  ("data.test_images", 2, math.inf),
  ("data.relevant", 1, math.inf),
  ("data.copies", 0, math.inf),
  ("data.quota", 1, math.inf),
  ("data.halves", 0, math.inf),
  ("data.max_shift", 0, math.inf),
  ("select.count", 1, math.inf),
  ("select.p_cutoff", 0.0, 1.0),
  ("loss.feature_weight", 0.0, math.inf),
  ("loss.kl_weight", 0.0, math.inf),
  ("loss.kl_temperature", _TINY, math.inf),
  ("loss.noisy_weight", 0.0, math.inf),
  ("loss.noisy_rate", 0.0, math.inf),
  ("loss.mix_weight", 0.0, math.inf),
  ("loss.mix_concentration", _TINY, math.inf),
  ("loss.mix_noise", 0.0, math.inf),
  ("loss.temperature", _TINY, math.inf),
  ("loss.embedding", 1, math.inf),
  ("loss.projector_factor", 1, math.inf),
  ("teacher_steps", 1, math.inf),
  ("epochs", 1, math.inf),
  ("epoch_steps", 1, math.inf),
  ("kl_learning_rate", 0.0, math.inf),
  ("batch_size", 2, math.inf),
  ("score_batch_size", 1, math.inf),
  *(
    (f"{part}.{name}", 0.0, high)
    for part in ("optim", "teacher_optim")
    for name, high in (
      ("learning_rate", math.inf),
      ("momentum", 1.0),
      ("weight_decay", math.inf),
    )
  ),
)


def _get(config: Any, name: str) -> Any:
  for part in name.split("."):
    config = getattr(config, part)
  return config


def check(config: Config) -> None:
  """Checks what several fields say together.

  Apart from `__post_init__`, because fields are set one after the other.

  Args:
    config: the method's configuration, or an arm's.

  Raises:
    UsageError: one sentence for the first thing that is wrong.
  """
  loss, data = config.loss, config.data
  if not loss.feature_weight + loss.kl_weight + loss.noisy_weight:
    raise UsageError("every weight of the loss is 0: nothing teaches")
  if loss.classifier == "shared" and not loss.feature_weight:
    raise UsageError(
      "loss.classifier is shared and loss.feature_weight 0: nothing trains the "
      "projection to the teacher's classifier; take loss.classifier own"
    )
  if loss.cross and loss.mix == "none":
    raise UsageError("loss.cross is a contrast, and loss.mix is none")
  if (data.original == "digits_0_4") != (data.web == "shifted_digits"):
    raise UsageError(
      "data.original and data.web go together: give your own for both, or "
      "neither"
    )
  if len(data.mean) != len(data.std) or not all(s > 0 for s in data.std):
    raise UsageError("data.mean and data.std: as many numbers each, std above 0")
  for name in ("teacher", "student"):
    net = getattr(config, name)
    if len(net.widths) != len(net.strides) or not net.widths:
      raise UsageError(f"{name}.widths and {name}.strides differ in length")
  for name in ("optim", "teacher_optim"):
    drops = getattr(config, name).drops
    if sorted(drops) != list(drops) or not all(0 < d < 1 for d in drops):
      raise UsageError(f"{name}.drops are increasing parts between 0 and 1")


# A student of plain distillation: predictions, a head of its own.
_KL = {
  "loss.classifier": "own",
  "loss.feature_weight": 0.0,
  "loss.kl_weight": 1.0,
  "loss.mix": "none",
}
_ONCE = {"select.repeat": False}
# What each arm changes; the descriptions are in the method's record.
CHANGES: dict[str, dict[str, Any]] = {
  "kd3": {},
  "kd_original": {**_KL, "select.rule": "none"},
  "kd_all": {**_KL, "select.rule": "none"},
  "kd_random": {**_KL, **_ONCE, "select.rule": "random"},
  "kd_selected": _KL,
  "dfnd": {
    **_KL,
    **_ONCE,
    "select.rule": "top_k",
    "select.blend": "teacher",
    "loss.noisy_weight": 1.0,
    "optim.drops": (0.4, 0.8),
  },
  "features_all": {
    "select.rule": "none",
    "loss.weighting": "none",
    "loss.mix": "none",
  },
  "no_selection": {"select.rule": "none"},
  "teacher_only": {"select.blend": "teacher"},
  "student_only": {"select.blend": "student"},
  "fixed_threshold": {"select.rule": "fixed"},
  "top_k": {"select.rule": "top_k"},
  "own_head": {"loss.classifier": "own", "loss.kl_weight": 1.0},
  "no_weights": {"loss.weighting": "none"},
  "no_mix": {"loss.mix": "none"},
  "noise": {"loss.mix": "noise"},
  "cross": {"loss.cross": True},
}


def of_arm(config: Config, arm: str) -> Config:
  """The configuration of an arm.

  Args:
    config: the method's own.
    arm: a key of `CHANGES`.

  Returns:
    The same with the arm's changes. A student that learns no features starts
    at `kl_learning_rate`.
  """
  for name, value in CHANGES[arm].items():
    config = _set(config, name.split("."), value)
  if not config.loss.feature_weight:
    rate = config.kl_learning_rate
    config = _set(config, ["optim", "learning_rate"], rate)
  return config


def _set(config, path, value):
  head, *rest = path
  inner = _set(getattr(config, head), rest, value) if rest else value
  return dataclasses.replace(config, **{head: inner})


PRESETS = {
  # Seconds; what the tests run.
  "tiny": Config(
    data=DataConfig(
      train_images=200,
      val_images=50,
      test_images=100,
      relevant=50,
      copies=1,
      quota=60,
      halves=0,
    ),
    teacher=NetConfig(widths=(8, 16, 16)),
    student=NetConfig(widths=(4, 8, 8)),
    select=SelectConfig(count=100),
    loss=LossConfig(embedding=16),
    teacher_steps=30,
    epochs=4,
    epoch_steps=5,
    batch_size=32,
    score_batch_size=100,
    log_every=10,
    save_every=0,
  ),
  # The claims, on real digits, in minutes.
  "small": Config(),
}
