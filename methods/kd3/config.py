"""KD^3's configuration: every ablation is a field.

The paper's values stand in each field's line; where they differ from the
defaults, the defaults are those of small images.
"""

import dataclasses

from kd_jax import experiment
from kd_jax.methods.kd3 import validate

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
      `.npz`. "digits_0_4" is the embedded one, five digits of MNIST-5k; "" is
      none, beside a teacher of one's own.
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
    flip: whether they are mirrored at random too.
    crop: whether web images are cut out and resized at random, as the paper
      does (area .08 to 1, aspect 3/4 to 4/3), rather than shifted.
    streamed: web images stay on the host, and go to the devices batch by batch:
      "auto" does so if they take more than 40 % of a device's memory (4 GB on a
      CPU), "always" or "never". Selections and bits are the same.
    image_size: height and width that a folder of web images is resized to if
      there are no original images; 0 takes the size of its first one.
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
  crop: bool = False
  streamed: str = "auto"
  image_size: int = 0


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
class TeacherConfig(NetConfig):
  """The teacher.

  Attributes:
    file: a `.safetensors` file with the weights of a ResNet, as torchvision and
      timm name them: a teacher that one already has, of which nothing is
      trained ("name" and the others are not read then). "" trains one.
  """

  file: str = ""


@dataclasses.dataclass(frozen=True)
class SelectConfig:
  """Which web images an epoch trains on.

  Attributes:
    rule: "classwise" is the paper's, conf > tau of the predicted class; "fixed"
      has p_cutoff for every class; "top_k" takes the `count` most confident,
      "random" any `count`; "all" takes every image and still logs the scores;
      "none" takes every image and never scores them.
    blend: whose logits: "schedule" is the paper's alpha(t), "teacher" has
      alpha = 1, "student" alpha = 0.
    repeat: select anew before each epoch; False selects once, before the first.
    count: images that "top_k" and "random" take.
    p_cutoff: the largest threshold; the paper's is 0.95.
    augment: score augmented images, as the paper does. On the embedded web a
      shift by one pixel changes the teacher's mind about so many irrelevant
      images that the classes lose their balance, and with it the thresholds
      their use (the share of relevant images selected by the teacher falls from
      0.35 to 0.18, two seeds).
  """

  rule: str = "classwise"
  blend: str = "schedule"
  repeat: bool = True
  count: int = 900
  p_cutoff: float = 0.95
  augment: bool = True


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
class GeneratorConfig:
  """The generator of DAFL.

  Attributes:
    latent: length of the noise; DAFL's is 100.
    balance_weight: of the entropy of the mean prediction; DAFL's is 5.
    activation_weight: of the teacher's activity; DAFL's is 0.1.
    learning_rate: Adam's.
  """

  latent: int = 100
  balance_weight: float = 5.0
  activation_weight: float = 0.1
  learning_rate: float = 0.02


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
class Config(experiment.NetworkConfig):
  """KD^3.

  Attributes:
    arms: which of `ARMS` run.
    data: what is learned from.
    teacher: the teacher's network.
    student: the student's network.
    select: which web images an epoch trains on.
    loss: what the student minimises.
    generator: what makes DAFL's images.
    teacher_steps: the teacher's training steps.
    teacher_optim: the teacher's optimizer.
    epochs: selections, and the length of every schedule; the paper's is 240.
    epoch_steps: steps after each selection. The paper makes one pass over what
      is selected; here every arm takes equally many steps, however much it has
      selected, going through its selection again or leaving some for later.
    optim: the optimizer of a student that learns features.
    kl_learning_rate: the first learning rate of one that learns predictions.
    own_rates: (arm, first learning rate) for arms whose own differs.
    batch_size: images per step over all devices; the paper's is 1024.
    teacher_batch_size: of the teacher's steps; the paper's is 64, and 0 is
      `batch_size`.
    score_batch_size: images scored at a time in selection and evaluation.
  """

  arms: tuple[str, ...] = ("kd_all", "kd_random", "kd3", "kd_original")
  data: DataConfig = DataConfig()
  teacher: TeacherConfig = TeacherConfig()
  student: NetConfig = NetConfig(widths=(8, 16, 16))
  select: SelectConfig = SelectConfig()
  loss: LossConfig = LossConfig()
  generator: GeneratorConfig = GeneratorConfig()
  teacher_steps: int = 500
  teacher_optim: OptimConfig = OptimConfig(0.1, schedule="cosine")
  epochs: int = 20
  epoch_steps: int = 40
  optim: OptimConfig = OptimConfig(0.3)
  kl_learning_rate: float = 0.1
  own_rates: tuple[tuple[str, float], ...] = ()
  batch_size: int = 128
  teacher_batch_size: int = 0
  score_batch_size: int = 512

  def __post_init__(self):
    """Checks names and ranges; `validate.check` what several fields say.

    Raises:
      UsageError: one sentence for the first field that is wrong.
    """
    super().__post_init__()
    validate.check_fields(self)
