"""A student learns how examples, places and layers stand to each other.

As in `distillation`: one value per example, the teacher a constant unless
`stop_target_gradient=False` says otherwise. Where examples are compared with
each other, those of all devices are. Letters: b batch, d embedding, h w image,
c channels; f features, e embeddings, S student, T teacher.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import accel
from kd_jax.losses.inputs import blank, lift, per_row
from kd_jax.losses.norms import l2_norm, l2_normalize

Where = Bool[Array | np.ndarray, "b"] | None


def attention_mean_square(
  student_map: Float[Array | np.ndarray, "b h w cs"],
  teacher_map: Float[Array | np.ndarray, "b h w ct"],
  *,
  power: int = 2,
  where: Where = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Attention transfer as its authors' code has it: a mean square.

  The paper writes the distance itself, which is `attention_transfer`. Weigh it
  by beta / 2 with beta = 1000; pool the student's map to the teacher's size
  before, if it is larger.

  Equation: l_i = mean_k (Q(fS_i)_k - Q(fT_i)_k)^2, Q(f) = a / ||a||_2 with
    a = vec(mean_c |f_hwc|^p)
  Source: Zagoruyko and Komodakis 2017, arXiv 1612.03928, eq. 2, as in the
    released code

  Args:
    student_map: fS; the two may have different numbers of channels.
    teacher_map: fT.
    power: p.
    where: True for the examples that count.
    stop_target_gradient: whether the teacher is a constant.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if anything but the numbers of channels differs, or p < 1.
  """
  if student_map.shape[:-1] != teacher_map.shape[:-1]:
    raise ValueError(
      f"student_map is {student_map.shape}, teacher_map is "
      f"{teacher_map.shape}: only the channels may differ"
    )
  if power < 1:
    raise ValueError(f"power is {power}; it is at least 1")
  student, teacher = _rows(
    student_map, teacher_map, where, stop_target_gradient
  )
  difference = _attention(student, power) - _attention(teacher, power)
  return (difference**2).mean(-1)


def _attention(f, power):
  # Only the map's direction matters: its size goes out before high powers.
  size = jax.lax.stop_gradient(jnp.abs(f).max((1, 2, 3), keepdims=True))
  f = jnp.abs(f) / jnp.where(size == 0, jnp.ones_like(size), size)
  return l2_normalize((f**power).mean(-1).reshape(len(f), -1))


def similarity_preserving(
  student: Float[Array | np.ndarray, "b *fs"],
  teacher: Float[Array | np.ndarray, "b *ft"],
  *,
  where: Where = None,
  axis_name: str | None = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Whether the student finds the same examples alike.

  Its mean over the batch is the paper's number.

  Equation: l_i = sum_j (GS_ij - GT_ij)^2 / b, G the rows of F F^T over their
    lengths, F = flattened features
  Source: Tung and Mori 2019, arXiv 1907.09682, eq. 4

  Args:
    student: fS, of any shape after the first axis.
    teacher: fT, of any other.
    where: True for the examples that count, also as others' neighbours.
    axis_name: the devices whose examples are compared.
    stop_target_gradient: whether the teacher is a constant.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if the batches differ.
  """
  student, teacher = _rows(student, teacher, where, stop_target_gradient)

  def gram(f):
    f = f.reshape(len(f), -1)
    every = accel.all_gather(f, axis_name)
    return l2_normalize(jnp.matmul(f, every.T, precision="highest"))

  _, count = _counting(len(student), where, axis_name)
  return ((gram(student) - gram(teacher)) ** 2).sum(-1) / count


def relational_distance(
  student: Float[Array | np.ndarray, "b ds"],
  teacher: Float[Array | np.ndarray, "b dt"],
  *,
  where: Where = None,
  axis_name: str | None = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Whether examples are as far from each other, up to a scale.

  Equation: l_i = mean_j h(dS_ij / mS - dT_ij / mT), d_ij = ||e_i - e_j||_2, m
    the mean of all that are not 0, h Huber's loss of width 1
  Source: Park et al. 2019, arXiv 1904.05068, eqs. 5 to 8

  Args:
    student: eS.
    teacher: eT.
    where: True for the examples that count, also as others' partners.
    axis_name: the devices whose examples are compared.
    stop_target_gradient: whether the teacher is a constant.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if the batches differ.
  """
  student, teacher = _rows(student, teacher, where, stop_target_gradient)
  counts, count = _counting(len(student), where, axis_name)

  def potential(e):
    every = accel.all_gather(e, axis_name)
    d = l2_norm(e[:, None] - every[None])
    own = jnp.ones(len(e), bool) if where is None else jnp.asarray(where)
    pairs = own[:, None] & counts[None] & (d > 0)
    total, n = accel.sum(
      (
        jnp.where(pairs, d, jnp.zeros_like(d)).sum(),
        pairs.sum().astype(d.dtype),
      ),
      axis_name,
    )
    return d / jnp.where(total > 0, total / jnp.maximum(n, 1), 1.0)

  found = _huber(potential(student) - potential(teacher))
  found = jnp.where(counts[None], found, jnp.zeros_like(found)).sum(-1)
  return blank(found / count, where)


def relational_angle(
  student: Float[Array | np.ndarray, "b ds"],
  teacher: Float[Array | np.ndarray, "b dt"],
  *,
  where: Where = None,
  axis_name: str | None = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Whether examples see each other under the same angles.

  Takes b^3 numbers.

  Equation: l_j = mean_ik h(cosS_ijk - cosT_ijk), cos_ijk the cosine of e_i -
    e_j and e_k - e_j, h Huber's loss of width 1
  Source: Park et al. 2019, arXiv 1904.05068, eqs. 9 to 11; j is the example
    that the angle stands at

  Args:
    student: eS.
    teacher: eT.
    where: True for the examples that count, also at the ends of an angle.
    axis_name: the devices whose examples are compared.
    stop_target_gradient: whether the teacher is a constant.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if the batches differ.
  """
  student, teacher = _rows(student, teacher, where, stop_target_gradient)
  counts, count = _counting(len(student), where, axis_name)

  def cosines(e):
    every = accel.all_gather(e, axis_name)
    way = l2_normalize(every[None] - e[:, None])
    return jnp.einsum("jid,jkd->jik", way, way, precision="highest")

  found = _huber(cosines(student) - cosines(teacher))
  pairs = counts[:, None] & counts[None]
  found = jnp.where(pairs[None], found, jnp.zeros_like(found)).sum((1, 2))
  return blank(found / count**2, where)


def solution_flow(
  student: tuple[
    Float[Array | np.ndarray, "b h w cs1"],
    Float[Array | np.ndarray, "b h w cs2"],
  ],
  teacher: tuple[
    Float[Array | np.ndarray, "b h2 w2 cs1"],
    Float[Array | np.ndarray, "b h2 w2 cs2"],
  ],
  *,
  where: Where = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Whether features flow from one layer to another alike.

  Equation: l_i = mean_ab (GS_ab - GT_ab)^2, G_ab = mean_hw f1_hwa f2_hwb
  Source: Yim et al. 2017 (FSP), eqs. 1 and 2, with a mean over the matrix

  Args:
    student: two maps of one size.
    teacher: two maps of one size, of as many channels as the student's.
    where: True for the examples that count.
    stop_target_gradient: whether the teacher is a constant.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if the sizes or the numbers of channels differ.
  """
  for name, (one, two) in (("student", student), ("teacher", teacher)):
    if one.shape[:3] != two.shape[:3]:
      raise ValueError(f"the {name}'s maps are {one.shape} and {two.shape}")
  for one, two in zip(student, teacher, strict=True):
    if one.shape[-1] != two.shape[-1]:
      raise ValueError(f"the channels of {one.shape} and {two.shape} differ")
  per_row(len(student[0]), where=where)

  def flow(maps):
    one, two = (blank(f, where) for f in lift(*maps))
    places = one.shape[1] * one.shape[2]
    product = jnp.einsum("bhwx,bhwy->bxy", one, two, precision="highest")
    return product / places

  target = flow(teacher)
  if stop_target_gradient:
    target = jax.lax.stop_gradient(target)
  return ((flow(student) - target) ** 2).mean((1, 2))


def _rows(student, teacher, where, stop):
  """Both, lifted and blanked; the teacher stopped."""
  if len(student) != len(teacher):
    raise ValueError(f"student is {student.shape}, teacher is {teacher.shape}")
  per_row(len(student), where=where)
  student, teacher = (blank(f, where) for f in lift(student, teacher))
  return student, jax.lax.stop_gradient(teacher) if stop else teacher


def _counting(rows, where, axis_name):
  """Which of all devices' examples count, and how many (at least 1)."""
  own = jnp.ones(rows, bool) if where is None else jnp.asarray(where)
  every = accel.all_gather(own, axis_name)
  return every, jnp.maximum(every.sum(), 1).astype(jnp.float32)


def _huber(x):
  size = jnp.abs(x)
  return jnp.where(size < 1, 0.5 * x * x, size - 0.5)
