"""One view predicts what another view, or a slower network, says of the image.

Nothing is pushed apart: what keeps the answer from being the same for every
image is a predictor, a stopped gradient, a slow teacher, or a centre. Letters:
b batch, d embedding, k outputs, c views that teach, v views that learn (the
first c of them show what the teachers saw), p a prediction, z a target.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax.losses.inputs import (
  Number,
  blank,
  lift,
  per_row,
  same_shape,
  temperature_like,
)
from kd_jax.losses.norms import l2_normalize

Rows = Float[Array | np.ndarray, "b d"]
Views = Float[Array | np.ndarray, "v b k"]
Mask = Bool[Array | np.ndarray, "b"]


def negative_cosine(
  prediction: Rows,
  target: Rows,
  *,
  where: Mask | None = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Minus the cosine of the angle between a prediction and its target.

  Equation: l_i = -p_i . z_i / (|p_i| |z_i|)
  Source: Chen and He 2021, arXiv 2011.10566, eq. 1
  Checked: a loop in float64; numeric gradients

  Args:
    prediction: p.
    target: z.
    where: True for the examples that count.
    stop_target_gradient: whether targets are constants.

  Returns:
    One value per example, from -1 to 1 (0 where one of the two is zero); 0
    where not counted.

  Raises:
    ValueError: if shapes differ.
  """
  same_shape(prediction=prediction, target=target)
  per_row(len(prediction), where=where)
  p, z = (l2_normalize(blank(u, where)) for u in lift(prediction, target))
  z = jax.lax.stop_gradient(z) if stop_target_gradient else z
  return blank(-(p * z).sum(-1), where)


def simsiam(
  first_prediction: Rows,
  second_prediction: Rows,
  first_target: Rows,
  second_target: Rows,
  *,
  where: Mask | None = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Each view's prediction turned to the other view's projection.

  Equation: l_i = -(cos(p_i, z'_i) + cos(p'_i, z_i)) / 2
  Source: Chen and He 2021, arXiv 2011.10566, eq. 4
  Checked: a loop in float64; `byol`, which is 4 (1 + l)

  Args:
    first_prediction: p, from one view.
    second_prediction: p', from the other.
    first_target: z, of the first view.
    second_target: z'.
    where: True for the examples that count.
    stop_target_gradient: whether targets are constants; if not, it collapses.

  Returns:
    One value per example, from -1 to 1; 0 where not counted.

  Raises:
    ValueError: if shapes differ.
  """
  how = {"where": where, "stop_target_gradient": stop_target_gradient}
  there = negative_cosine(first_prediction, second_target, **how)
  back = negative_cosine(second_prediction, first_target, **how)
  same_shape(first_prediction=first_prediction, second=second_prediction)
  return (there + back) / 2


def byol(
  first_prediction: Rows,
  second_prediction: Rows,
  first_target: Rows,
  second_target: Rows,
  *,
  where: Mask | None = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Squared distance of normalised predictions to a slow network's projections.

  The two directions are added, as in the paper. lightly takes the mean of the
  two negative cosines, which has a quarter of the slope: `simsiam`.

  Equation: l_i = |p_i/|p_i| - z'_i/|z'_i||^2 + |p'_i/|p'_i| - z_i/|z_i||^2
  Source: Grill et al. 2020, arXiv 2006.07733, eq. 2
  Checked: a loop in float64 of the squared distances

  Args:
    first_prediction: p, the online network's from one view.
    second_prediction: p', from the other.
    first_target: z, the target network's of the first view.
    second_target: z'.
    where: True for the examples that count.
    stop_target_gradient: whether targets are constants.

  Returns:
    One value per example, from 0 to 8; 0 where not counted.

  Raises:
    ValueError: if shapes differ.
  """
  how = {"where": where, "stop_target_gradient": stop_target_gradient}
  mean = simsiam(
    first_prediction, second_prediction, first_target, second_target, **how
  )
  return blank(4 * (1 + mean), where)


def dino(
  student: Views,
  teacher: Float[Array | np.ndarray, "c b k"],
  centre: Float[Array | np.ndarray, "k"],
  *,
  student_temperature: Number,
  teacher_temperature: Number,
  where: Mask | None = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Cross-entropy of every student view under every other teacher view.

  The teacher's answer is centred (no output may be the favourite of all images)
  and sharpened (no image may have all outputs alike). Logits that are all 0
  give log k. The centre is a running mean of raw teacher logits over all
  images and devices, moved after the loss has used it.

  Equation: l_i = -mean over (c, v), v != c, of
    sum_k softmax((t_ci - m) / T_t)_k log softmax(s_vi / T_s)_k
  Source: Caron et al. 2021, arXiv 2104.14294, eq. 3 and 4, algorithm 1
  Checked: a loop over pairs in float64; log k; numeric gradients

  Args:
    student: s, logits of all views; the first c of the images' views are those
      that the teacher saw, in its order.
    teacher: t, logits of the views that teach.
    centre: m, subtracted from the teacher's logits; a constant.
    student_temperature: T_s > 0; the paper's is 0.1.
    teacher_temperature: T_t > 0; the paper's is 0.04 to 0.07.
    where: True for the examples that count.
    stop_target_gradient: whether the teacher is a constant.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if shapes do not fit together, there are fewer than two views,
      or a temperature is not positive.
  """
  s, t = views(student, teacher, where)
  (m,) = lift(centre)
  if m.shape != s.shape[-1:]:
    raise ValueError(f"centre is {m.shape}, student is {s.shape}")
  m = jax.lax.stop_gradient(m).astype(t.dtype)
  sharp = temperature_like(teacher_temperature, t)
  target = jax.nn.softmax((t - m[None, None]) / sharp)
  if stop_target_gradient:
    target = jax.lax.stop_gradient(target)
  said = jax.nn.log_softmax(s / temperature_like(student_temperature, s))
  return blank(across(target, said), where)


def views(student, teacher, where) -> tuple[Array, Array]:
  """Lifts and blanks two stacks of views, and checks that they fit.

  Args:
    student: (v, b, k).
    teacher: (c, b, k).
    where: True for the examples that count.

  Returns:
    Both; rows that do not count are zero.

  Raises:
    ValueError: naming what does not fit.
  """
  (v, b, _), c = student.shape, teacher.shape[0]
  if student.shape[1:] != teacher.shape[1:]:
    raise ValueError(
      f"student is {student.shape}, teacher is {teacher.shape}: they differ "
      "in the number of views alone"
    )
  if v < 2 or not 1 <= c <= v:
    raise ValueError(f"{v} views learn from {c}: two or more from 1 to all")
  per_row(b, where=where)
  lifted = lift(student, teacher)
  return tuple(
    jnp.moveaxis(blank(jnp.moveaxis(x, 1, 0), where), 0, 1) for x in lifted
  )


def across(
  target: Float[Array, "c b k"], said: Float[Array, "v b k"]
) -> Float[Array, "b"]:
  """Cross-entropy, mean over the pairs of a target and another view.

  Args:
    target: distributions; target i belongs to the same view as said i.
    said: log probabilities.

  Returns:
    One value per example.
  """
  c, v = len(target), len(said)
  # All pairs at once, without those of a view with itself.
  every = (target.sum(0) * said.sum(0)).sum(-1)
  itself = (target * said[:c]).sum((0, -1))
  return -(every - itself) / (c * (v - 1))
