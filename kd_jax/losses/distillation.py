"""A student learns from a teacher: outputs, features, attention.

Every function gives one value per example; `combine` reduces them. The teacher
is a constant unless `stop_target_gradient=False` says otherwise. Letters: b
batch, c classes or channels, h w image; z logits, T temperature, f features.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import accel
from kd_jax.losses.inputs import (
  Number,
  blank,
  lift,
  per_row,
  same_shape,
  temperature_like,
)
from kd_jax.losses.norms import l2_norm, l2_normalize

Where = Bool[Array | np.ndarray, "b"] | None


def distillation_kl(
  student_logits: Float[Array | np.ndarray, "b c"],
  teacher_logits: Float[Array | np.ndarray, "b c"],
  *,
  temperature: Number = 4.0,
  where: Where = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Divergence of the student's softened class probabilities.

  The factor T^2 keeps the size of the gradient independent of T. The rounding
  error of the value grows with it (about T^2 * 1e-7), that of the gradient
  does not: above T = 100 the value is good for little but its trend.

  Equation: l_i = T^2 * KL(softmax(zT_i / T) || softmax(zS_i / T))
  Source: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2
  Checked: a loop in float64; the limits of hot and of equal logits; the
    gradient in closed form

  Args:
    student_logits: zS, finite.
    teacher_logits: zT, finite.
    temperature: T > 0; 1 compares the probabilities as they are.
    where: True for the examples that count.
    stop_target_gradient: whether the teacher is a constant.

  Returns:
    One value per example, at least 0 up to rounding; 0 where not counted.

  Raises:
    ValueError: if shapes differ or the temperature is not positive.
  """
  same_shape(student_logits=student_logits, teacher_logits=teacher_logits)
  per_row(len(student_logits), where=where)
  student, teacher = (
    blank(z, where) for z in lift(student_logits, teacher_logits)
  )
  if stop_target_gradient:
    teacher = jax.lax.stop_gradient(teacher)
  t = temperature_like(temperature, student)
  log_q = jax.nn.log_softmax(student / t)
  log_p = jax.nn.log_softmax(teacher / t)
  return t * t * (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def feature_regression(
  student: Float[Array | np.ndarray, "b *f"],
  teacher: Float[Array | np.ndarray, "b *f"],
  *,
  weights: Float[Array | np.ndarray, "b"] | None = None,
  where: Where = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Mean squared difference of features, weighted by example.

  Bring the student's features to the teacher's shape before (a projector).
  The gradient flows into `weights`; `disagreement_weights` gives stopped ones.

  Equation: l_i = w_i * mean_k (fS_ik - fT_ik)^2
  Source: Tang et al. 2023 (ICCV), arXiv 2307.11469, weighted feature alignment;
    w = 1 is the hint of Romero et al. 2015, arXiv 1412.6550, eq. 3
  Checked: a loop in float64; numeric gradients

  Args:
    student: fS, of any shape after the first axis.
    teacher: fT.
    weights: w; 1 if None.
    where: True for the examples that count.
    stop_target_gradient: whether the teacher is a constant.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if shapes differ.
  """
  same_shape(student=student, teacher=teacher)
  per_row(len(student), weights=weights, where=where)
  weights = np.ones(len(student), np.float32) if weights is None else weights
  student, teacher, weights = (
    blank(a, where) for a in lift(student, teacher, weights)
  )
  if stop_target_gradient:
    teacher = jax.lax.stop_gradient(teacher)
  squared = (student - teacher) ** 2
  return weights * squared.mean(tuple(range(1, squared.ndim)))


def attention_transfer(
  student_map: Float[Array | np.ndarray, "b h w cs"],
  teacher_map: Float[Array | np.ndarray, "b h w ct"],
  *,
  where: Where = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Distance between where two feature maps are active.

  The paper's equation has the distance itself; implementations that are in use
  often take its square or the mean of the squares. Its gradient keeps its
  length however close the maps are, and is 0 where they are equal.

  Equation: l_i = || Q(fS_i) - Q(fT_i) ||_2,  Q(f) = a / ||a||_2 with
    a = vec(mean_c f_hwc^2)
  Source: Zagoruyko and Komodakis 2017, arXiv 1612.03928, eq. 2 with p = 2,
    for one pair of maps and without its factor beta / 2
  Checked: a loop in float64; numeric gradients; maps that are equal, scaled, or
    far apart

  Args:
    student_map: fS; the two may have different numbers of channels.
    teacher_map: fT.
    where: True for the examples that count.
    stop_target_gradient: whether the teacher is a constant.

  Returns:
    One value per example, from 0 to sqrt(2); 0 where not counted.

  Raises:
    ValueError: if anything but the numbers of channels differs.
  """
  if student_map.shape[:-1] != teacher_map.shape[:-1]:
    raise ValueError(
      f"student_map is {student_map.shape}, teacher_map is "
      f"{teacher_map.shape}: only the channels may differ"
    )
  per_row(len(student_map), where=where)
  student, teacher = (blank(f, where) for f in lift(student_map, teacher_map))
  if stop_target_gradient:
    teacher = jax.lax.stop_gradient(teacher)
  return l2_norm(_attention(student) - _attention(teacher))


def _attention(f):
  # Only the direction of the map matters, so its size may be taken out first,
  # before fourth powers of it overflow.
  size = jax.lax.stop_gradient(jnp.abs(f).max((1, 2, 3), keepdims=True))
  f = f / jnp.where(size == 0, jnp.ones_like(size), size)
  return l2_normalize((f * f).mean(-1).reshape(len(f), -1))


def disagreement_weights(
  student_logits: Float[Array | np.ndarray, "b c"],
  teacher_logits: Float[Array | np.ndarray, "b c"],
  *,
  kind: Literal["sigmoid", "none", "one_minus_minmax"] = "sigmoid",
  where: Where = None,
  axis_name: str | None = None,
  stop_gradient: bool = True,
) -> Float[Array, "b"]:
  """Weights of examples by how far student and teacher are apart.

  With "sigmoid", examples on which the two disagree count more, between 0.5
  and 1 (logits that are 5 apart give 0.993 already). With "one_minus_minmax"
  they count less, from 1 for the closest of the batch to 0 for the farthest;
  all weights are 1 if all distances are equal.

  Equation: w_i = sigmoid(d_i), 1, or 1 - (d_i - min d) / (max d - min d), with
    d_i = || zS_i - zT_i + 1e-6 ||_2
  Source: Tang et al. 2023 (ICCV), arXiv 2307.11469, weighted feature alignment;
    the other two kinds for comparison
  Checked: a loop in float64 for each kind; equal logits

  Args:
    student_logits: zS.
    teacher_logits: zT.
    kind: which of the three.
    where: True for the examples that count; the others do not enter the minimum
      and the maximum.
    axis_name: the devices over which these two are taken.
    stop_gradient: whether the weights are constants.

  Returns:
    One weight per example; 0 where not counted.

  Raises:
    ValueError: if shapes differ or for an unknown kind.
  """
  same_shape(student_logits=student_logits, teacher_logits=teacher_logits)
  per_row(len(student_logits), where=where)
  student, teacher = (
    blank(z, where) for z in lift(student_logits, teacher_logits)
  )
  if stop_gradient:
    student, teacher = jax.lax.stop_gradient((student, teacher))
  distance = l2_norm(student - teacher + 1e-6)
  if kind == "sigmoid":
    weights = jax.nn.sigmoid(distance)
  elif kind == "none":
    weights = jnp.ones_like(distance)
  elif kind == "one_minus_minmax":
    weights = 1.0 - _minmax(distance, where, axis_name)
  else:
    raise ValueError(
      f"kind is {kind!r}; it is one of sigmoid, none, one_minus_minmax"
    )
  return blank(weights, where)


def _minmax(distance, where, axis_name):
  counts = jnp.ones(len(distance), bool) if where is None else where
  every = accel.all_gather(distance, axis_name)
  counts = accel.all_gather(jnp.asarray(counts), axis_name)
  low = jnp.where(counts, every, jnp.full_like(every, jnp.inf)).min()
  high = jnp.where(counts, every, jnp.full_like(every, -jnp.inf)).max()
  # Where nothing counts the span is minus infinity: no division then either.
  span = high - low
  flat = ~(span > 0)
  ratio = (distance - low) / jnp.where(flat, jnp.ones_like(span), span)
  return jnp.where(flat, jnp.zeros_like(ratio), ratio)
