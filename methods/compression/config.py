"""The configuration of compression: a network, its data, and a pipeline."""

import dataclasses

from kd_jax import experiment
from kd_jax.methods.compression import validate


@dataclasses.dataclass(frozen=True)
class DistilConfig:
  """The arms that learn from a teacher (names that begin with "kd").

  Attributes:
    teacher_model: the teacher, named as `model`.
    student_model: the student.
    teacher: widths of the teacher's hidden layers, if it is a lenet_300_100.
    student: widths of the student's.
    images: how many training images the student has, all of them if 0; the
      teacher has all.
    temperature: tau; the papers' is 4.
    weight: a of (1 - a) CE + a KD; the papers' is 0.9.
    rate: the first learning rate of the students.
    smoothing: of the labels, in the arm that smooths them.
    attention: beta / 2 of the arm "kd_attention"; the papers' is 500.
    similarity: of the arm "kd_similarity"; the paper's is 3000.
    distance: of distances in the arm "kd_relations"; the paper's is 25.
    angle: of angles there; the paper's is 50.
    hint: of the arm "kd_hint"; the benchmark's is 100.
  """

  teacher_model: str = "lenet_300_100"
  student_model: str = "lenet_300_100"
  teacher: tuple[int, ...] = (400, 400)
  student: tuple[int, ...] = (30, 30)
  images: int = 200
  temperature: float = 4.0
  weight: float = 0.9
  rate: float = 1e-3
  smoothing: float = 0.1
  attention: float = 500.0
  similarity: float = 3000.0
  distance: float = 25.0
  angle: float = 50.0
  hint: float = 100.0


@dataclasses.dataclass(frozen=True)
class Config(experiment.Config):
  """What is compressed, and how.

  Attributes:
    pipeline: the steps of the arm "pipeline", left to right: NAME, NAME:VALUE
      or NAME:VALUE,KEY=VALUE with "|" between ("slimming:0.5 | int8 |
      huffman"). `kd-jax evaluate compression --steps` lists them.
    model: the network: lenet_300_100, lenet5, alexnet, vgg16_224, squeezenet,
      xnor_cnn, resnet20, resnet56, resnet110 or one of
      `kd_jax.backbones.NAMES`.
    widths: of lenet_300_100's hidden layers, of lenet5's, a small_cnn's or an
      xnor_cnn's layers; the network's own if empty.
    data: a data set's name, a folder or an `.npz`.
    train_images: how many training images are used; all if 0.
    val_images: how many of them are kept for choosing settings.
    mean: subtracted from pixels in [0, 1]; one number, or one per channel.
    std: what they are divided by then.
    crop: training images are padded by so many pixels and cut at random.
    flip: whether they are mirrored at random.
    batch_size: images in a step.
    dense_steps: of the dense network's training.
    tune_steps: of each step of a pipeline that trains, unless it says itself.
    learning_rate: of the dense network.
    tune_rate: of the pipeline's steps.
    weight_decay: L2 on kernels, those that are there.
    optimizer: "adam" or "sgd" (momentum 0.9, Nesterov).
    drops: parts of a training after which its rate is a tenth; a cosine if
      there is none.
    latency: whether latencies are measured (they differ from run to run).
    distil: the teacher and student of the arms "kd_...".
  """

  arms: tuple[str, ...] = ("dense", "pipeline", "random", "scratch")
  pipeline: str = "gradual:0.9 | share:5 | huffman"
  model: str = "lenet_300_100"
  widths: tuple[int, ...] = ()
  data: str = "mnist_5k"
  train_images: int = 0
  val_images: int = 400
  mean: tuple[float, ...] = (0.0,)
  std: tuple[float, ...] = (1.0,)
  crop: int = 0
  flip: bool = False
  batch_size: int = 100
  dense_steps: int = 600
  tune_steps: int = 300
  learning_rate: float = 1e-3
  tune_rate: float = 1e-3
  weight_decay: float = 1e-4
  optimizer: str = "adam"
  drops: tuple[float, ...] = ()
  latency: bool = True
  distil: DistilConfig = dataclasses.field(default_factory=DistilConfig)

  def __post_init__(self):
    """Checks names and ranges.

    Raises:
      UsageError: one sentence for the first field that is wrong.
    """
    super().__post_init__()
    validate.check_fields(self)
