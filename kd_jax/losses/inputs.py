"""What a loss does to its arguments first: check, lift, blank.

The order matters. Shapes are checked while tracing, so it costs nothing at run
time; numbers are lifted to float32 before any arithmetic; and masked rows are
replaced by zeros before the mathematics rather than after it, because the
gradient of what is thrown away at the end is still computed (0 times infinity
is NaN).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

Number = float | int | np.number | Float[Array | np.ndarray, ""]


def same_shape(**arrays: Shaped[Array | np.ndarray, "..."]) -> None:
  """Checks that arrays have one shape.

  Args:
    **arrays: the arrays by the names that the caller knows them by.

  Raises:
    ValueError: naming the first array, the one that differs, and both shapes.
  """
  (first, a), *rest = arrays.items()
  for name, b in rest:
    if a.shape != b.shape:
      raise ValueError(f"{first} is {a.shape}, {name} is {b.shape}")


def per_row(
  rows: int, **arrays: Shaped[Array | np.ndarray, "..."] | None
) -> None:
  """Checks that arrays have one value per row of the batch.

  Args:
    rows: how many rows the batch has.
    **arrays: the arrays by name; None passes.

  Raises:
    ValueError: naming the array, its shape and the shape it should have.
  """
  for name, a in arrays.items():
    if a is not None and a.shape != (rows,):
      raise ValueError(
        f"{name} is {a.shape}, the batch has {rows} rows: {(rows,)} is needed"
      )


def lift(
  *arrays: Shaped[Array | np.ndarray, "..."] | Number,
) -> tuple[jax.Array, ...]:
  """Converts arrays to one type of at least float32.

  Args:
    *arrays: numbers of any type.

  Returns:
    The arrays in float64 if one of them is, else in float32.
  """
  made = [jnp.asarray(a) for a in arrays]
  wide = any(a.dtype == jnp.float64 for a in made)
  return tuple(a.astype(jnp.float64 if wide else jnp.float32) for a in made)


def blank(
  x: Shaped[Array, "b *rest"], where: Bool[Array | np.ndarray, "b"] | None
) -> Shaped[Array, "b *rest"]:
  """Replaces the rows that do not count by zeros.

  Args:
    x: one row per example.
    where: True for the rows that count; None keeps all of them.

  Returns:
    The rows; what stood in a blanked one, NaN included, reaches neither the
    result nor the gradient.
  """
  if where is None:
    return x
  kept = jnp.asarray(where).reshape(-1, *[1] * (x.ndim - 1))
  return jnp.where(kept, x, jnp.zeros((), x.dtype))


def temperature_like(temperature: Number, like: Array) -> Float[Array, ""]:
  """Checks a temperature and gives it the type of the logits.

  Args:
    temperature: a positive number, or a scalar array (a schedule's value).
    like: the array that it will divide.

  Returns:
    The temperature as a scalar array.

  Raises:
    ValueError: for a Python number that is not positive; the value of an array
      is not known while tracing.
  """
  if isinstance(temperature, float | int | np.number) and not temperature > 0:
    raise ValueError(f"temperature is {temperature}; it must be positive")
  return jnp.asarray(temperature, like.dtype)
