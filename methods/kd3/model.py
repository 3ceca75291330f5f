"""The networks: a teacher, and a student that speaks through its classifier.

Letters: b batch, h w the last feature map, cS cT channels of the student's and
the teacher's, e embedding, C classes. fS fT are last feature maps, gS gT their
means over space, P the projector, zS zT logits.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import backbones
from kd_jax.backbones.conv import bias_uniform, kernel_uniform
from kd_jax.methods.kd3.config import Config, LossConfig, NetConfig

Variables = Mapping[str, Any]


def network(
  net: NetConfig,
  classes: int,
  axis_name: str | None = None,
  dtype: str = "float32",
) -> nn.Module:
  """Makes a backbone with a linear head.

  Args:
    net: which.
    classes: logits of its head.
    axis_name: the axis that batch statistics are gathered over, or None.
    dtype: of its activations.

  Returns:
    The module; it returns `backbones.Features`.
  """
  shape = {}
  if net.name == "small_cnn":
    shape = {"widths": net.widths, "strides": net.strides}
  return backbones.create(
    net.name, classes, axis_name=axis_name, dtype=jnp.dtype(dtype), **shape
  )


class Projector(nn.Module):
  """P: the student's feature map in the teacher's channels.

  Convolutions 1x1, 3x3 and 1x1 without bias, each with BN and ReLU; the last
  ReLU is there because the teacher's maps come out of one.

  Attributes:
    channels: cT.
    factor: the two layers inside have cT / factor channels.
    axis_name: the axis that batch statistics are gathered over, or None.
    dtype: of the activations.
  """

  channels: int
  factor: int = 2
  axis_name: str | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b h w s"],
    *,
    train: bool,
    where: Bool[Array, "b"] | None = None,
  ) -> Float[Array, "b h w t"]:
    """Projects.

    Args:
      x: fS.
      train: normalise by the batch's statistics and move the running ones.
      where: the rows that enter the batch's statistics.

    Returns:
      P(fS).
    """
    inner = self.channels // self.factor
    layers = ((inner, 1), (inner, 3), (self.channels, 1))
    for i, (width, size) in enumerate(layers):
      x = backbones.Conv(
        width,
        (size, size),
        padding=size // 2,
        use_bias=False,
        dtype=self.dtype,
        name=f"conv_{i}",
      )(x)
      norm = backbones.BatchNorm(
        not train,
        axis_name=self.axis_name,
        dtype=self.dtype,
        name=f"norm_{i}",
      )
      x = nn.relu(norm(x, where))
    return x


class Student(nn.Module):
  """A backbone with its own head, the projector P and the embeddings Es, Et.

  Attributes:
    net: the backbone.
    classes: C.
    channels: cT.
    loss: the widths of what is added are read from it.
    axis_name: the axis that batch statistics are gathered over, or None.
    dtype: of all activations.
  """

  net: NetConfig
  classes: int
  channels: int
  loss: LossConfig = LossConfig()
  axis_name: str | None = None
  dtype: str = "float32"

  def setup(self):
    """Makes the parts."""
    dtype, width = jnp.dtype(self.dtype), self.loss.embedding
    self.backbone = network(self.net, self.classes, self.axis_name, self.dtype)
    self.projector = Projector(
      self.channels, self.loss.projector_factor, self.axis_name, dtype
    )
    self.embed_student = Embedding(width, dtype)
    self.embed_teacher = Embedding(width, dtype)

  def __call__(self, x, *, train, where=None) -> backbones.Features:
    """The backbone alone: fS, gS and its own head's logits."""
    return self.backbone(x, train=train, where=where)

  def project(self, feature_map, size, *, train, where=None):
    """P(fS), at a map size of at most `size` = (h, w)."""
    return self.projector(pool_to(feature_map, size), train=train, where=where)

  def embed(self, student, teacher):
    """Es(gS) and Et(gT), not normalised."""
    return self.embed_student(student), self.embed_teacher(teacher)

  def everything(self, x, teacher):
    """Touches every parameter, for `init`; `teacher` is gT."""
    features = self(x, train=False)
    self.project(features.feature_map, (1, 1), train=False)
    return self.embed(features.pooled, teacher)


class Embedding(nn.Module):
  """A linear layer; its result is normalised where it is compared.

  Attributes:
    width: e.
    dtype: of the product.
  """

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b e"]:
    """Embeds pooled features."""
    bias = bias_uniform(x.shape[-1])
    return nn.Dense(
      self.width,
      dtype=self.dtype,
      kernel_init=kernel_uniform,
      bias_init=bias,
    )(x)


def pool_to(
  x: Float[Array, "b h w c"], size: tuple[int, int]
) -> Float[Array, "b i j c"]:
  """Adaptive average pooling; a map that is small enough stays as it is.

  Args:
    x: a feature map.
    size: the largest height and width; window k of n over length m goes from
      floor(k m / n) to ceil((k + 1) m / n).

  Returns:
    The map at most of that size.
  """
  for axis, n in ((1, size[0]), (2, size[1])):
    m = x.shape[axis]
    if m > n:
      window = np.zeros((n, m), np.float32)
      for k in range(n):
        low, high = k * m // n, -(-(k + 1) * m // n)
        window[k, low:high] = 1 / (high - low)
      x = jnp.moveaxis(jnp.tensordot(x, window, ((axis,), (1,))), -1, axis)
  return x


def pooled(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
  """A map's mean over space, in float32 whatever its dtype."""
  return x.mean((1, 2), dtype=jnp.float32)


def classify(
  head: Mapping[str, Array], pooled: Float[Array, "b c"]
) -> Float[Array, "b k"]:
  """The linear layer of a network's head.

  Args:
    head: its `kernel` (c, k) and `bias` (k).
    pooled: features.

  Returns:
    Logits.
  """
  return pooled @ head["kernel"] + head["bias"][None]


class Prediction(NamedTuple):
  """What a finished network says of images.

  Attributes:
    pooled: its backbone's pooled features.
    logits: class scores.
  """

  pooled: Float[Array, "b c"]
  logits: Float[Array, "b k"]


def teacher_predict(
  config: Config, teacher: Variables, x: Float[Array, "b h w c"]
) -> Prediction:
  """The teacher's answer, in evaluation mode.

  Args:
    config: its network.
    teacher: its "params" and "batch_stats".
    x: normalised images.

  Returns:
    gT and zT.
  """
  found = teacher_features(config, teacher, x)
  return Prediction(found.pooled, found.logits)


def teacher_features(config, teacher, x) -> backbones.Features:
  """fT, gT and zT, in evaluation mode."""
  module = teacher_network(config, teacher)
  return module.apply(teacher, x, train=False)


def teacher_network(config: Config, teacher: Variables) -> nn.Module:
  """The teacher's network: the configured one, or that of its own weights.

  Args:
    config: says which.
    teacher: its variables.

  Returns:
    The module.
  """
  if config.teacher.file:
    dtype = jnp.dtype(config.dtype)
    return backbones.resnet_like(teacher["params"], dtype=dtype)
  classes = teacher["params"]["head"]["kernel"].shape[-1]
  return network(config.teacher, classes, dtype=config.dtype)


def student_module(
  config: Config, teacher: Variables, axis_name: str | None = None
) -> Student:
  """The student that fits a teacher.

  Args:
    config: an arm's configuration.
    teacher: the teacher's variables; cT and C are read off its head.
    axis_name: the axis that batch statistics are gathered over, or None.

  Returns:
    The module.
  """
  channels, classes = teacher["params"]["head"]["kernel"].shape
  return Student(
    config.student, classes, channels, config.loss, axis_name, config.dtype
  )


def student_predict(
  config: Config, product: Variables, x: Float[Array, "b h w c"]
) -> Prediction:
  """The deployed student's answer, in evaluation mode.

  Args:
    config: an arm's configuration.
    product: "params", "batch_stats", and the "teacher", of which nothing but
      the head is read.
    x: normalised images.

  Returns:
    gS, and zS as `loss.classifier` says.
  """
  teacher = product["teacher"]
  module = student_module(config, teacher)
  student = {k: product[k] for k in ("params", "batch_stats")}
  found = module.apply(student, x, train=False)
  if config.loss.classifier == "own":
    return Prediction(found.pooled, found.logits)
  size = map_size(config, teacher, x)
  projected = module.apply(
    student, found.feature_map, size, train=False, method="project"
  )
  logits = classify(teacher["params"]["head"], pooled(projected))
  return Prediction(found.pooled, logits)


def map_size(
  config: Config, teacher: Variables, x: Float[Array, "b h w c"]
) -> tuple[int, int]:
  """The height and width of fT for such images, without computing it.

  Args:
    config: the teacher's network.
    teacher: its variables; unless they are of a file, no more than its head.
    x: images.

  Returns:
    Height and width.
  """
  module = teacher_network(config, teacher)
  shape = jax.eval_shape(
    lambda x: module.init_with_output(jax.random.key(0), x, train=False)[0], x
  )
  return shape.feature_map.shape[1:3]
