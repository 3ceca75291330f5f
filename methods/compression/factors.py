"""Scheme (b): low rank. Kernels as products of smaller ones.

Dense W (m, n) by its SVD; convolutions W (d, d, S, T) by CP (Lebedev et al.
2015, arXiv 1412.6553), Tucker-2 (Kim et al. 2016, arXiv 1511.06530) and the
vertical and horizontal filters of Tai et al. 2016 (arXiv 1511.06067), whose
closed form is the best of its form. There is no nonlinearity between factors,
and the bias is the last one's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from kd_jax.errors import UsageError
from kd_jax.methods.compression import trees
from kd_jax.methods.compression.protocol import Transform

PyTree = Any
SWEEPS = 20
RESTARTS = 4
RIDGE = 1e-5
_mm = functools.partial(jnp.einsum, precision="highest")


def svd(w: Float[Array, "m n"], rank: int) -> dict[str, Array]:
  """W ~ (U sqrt(S))_R (sqrt(S) V^T)_R, the nearest matrix of rank R.

  Args:
    w: a matrix.
    rank: R.

  Returns:
    "u" (m, R) and "v" (R, n).
  """
  u, s, v = jnp.linalg.svd(w, full_matrices=False)
  root = jnp.sqrt(s[:rank])
  return {"u": u[:, :rank] * root[None], "v": root[:, None] * v[:rank]}


def vertical_horizontal(
  w: Float[Array, "h w s t"], rank: int
) -> dict[str, Array]:
  """Tai et al.'s closed form: a d x 1 and a 1 x d convolution.

  The matrix of (S d_vertical) rows and (d_horizontal T) columns at its best
  rank K.

  Args:
    w: a kernel.
    rank: K.

  Returns:
    "v" (d, 1, S, K) and "h" (1, d, K, T).
  """
  h, width, s, t = w.shape
  matrix = w.transpose(2, 0, 1, 3).reshape(s * h, width * t)
  found = svd(matrix, rank)
  k = found["u"].shape[1]
  v = found["u"].reshape(s, h, 1, k).transpose(1, 2, 0, 3)
  return {"v": v, "h": found["v"].reshape(1, k, width, t).swapaxes(1, 2)}


def tucker(
  w: Float[Array, "h w s t"], ranks: tuple[int, int], sweeps: int = SWEEPS
) -> dict[str, Array]:
  """Tucker-2: factors of the input and output channels around a small core.

  HOSVD to begin with (left singular vectors of either unfolding), then higher
  order orthogonal iteration.

  Args:
    w: a kernel.
    ranks: R3 of the inputs, R4 of the outputs.
    sweeps: iterations.

  Returns:
    "s" (S, R3), "core" (d, d, R3, R4), "t" (R4, T).
  """
  r3, r4 = ranks

  def leading(x, axis, rank):
    unfolded = jnp.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    # Of the Gram matrix: as many rows as channels, however many columns.
    gram = _mm("ik,jk->ij", unfolded, unfolded)
    return jnp.linalg.eigh(gram)[1][:, ::-1][:, :rank]

  def sweep(factors, _):
    a, b = factors
    a = leading(_mm("ijst,tb->ijsb", w, b), 2, r3)
    b = leading(_mm("ijst,sa->ijat", w, a), 3, r4)
    return (a, b), None

  first = leading(w, 2, r3), leading(w, 3, r4)
  (a, b), _ = jax.lax.scan(sweep, first, length=sweeps)
  core = _mm("ijst,sa,tb->ijab", w, a, b)
  return {"s": a, "core": core, "t": b.T}


def cp(
  w: Float[Array, "h w s t"],
  rank: int,
  key: Key[Array, ""],
  *,
  sweeps: int = 50,
  restarts: int = RESTARTS,
  ridge: float = RIDGE,
) -> dict[str, Array]:
  """CP by alternating least squares with a ridge, the best of several starts.

  The problem is ill-posed (components may grow and cancel): the ridge, which is
  relative to the factors' size, and columns of equal length in all factors keep
  it in hand.

  Args:
    w: a kernel.
    rank: R.
    key: draws the starts.
    sweeps: iterations.
    restarts: random starts, all at once.
    ridge: what is added to the normal equations, over their mean diagonal.

  Returns:
    "b" (h, R), "c" (w, R), "a" (S, R), "d" (R, T).
  """
  letters = "ijst"
  others = [letters.replace(x, "") for x in letters]

  def solve(factors, axis):
    rest = [f for i, f in enumerate(factors) if i != axis]
    spec = ",".join([letters, *(f"{x}r" for x in others[axis])])
    right = _mm(f"{spec}->{letters[axis]}r", w, *rest)
    gram = functools.reduce(
      jnp.multiply, [_mm("xr,xq->rq", f, f) for f in rest]
    )
    size = jnp.trace(gram) / rank
    eye = jnp.eye(rank, dtype=w.dtype)
    return jnp.linalg.solve(gram + ridge * size * eye, right.T).T

  def balanced(factors):
    length = [jnp.linalg.norm(f, axis=0) for f in factors]
    each = functools.reduce(jnp.multiply, length) ** 0.25
    return tuple(
      f / jnp.maximum(n, 1e-30)[None] * each[None]
      for f, n in zip(factors, length, strict=True)
    )

  def sweep(factors, _):
    for axis in range(4):
      new = solve(factors, axis)
      factors = tuple(new if i == axis else f for i, f in enumerate(factors))
    return balanced(factors), None

  def one(key):
    keys = jax.random.split(key, 4)
    first = tuple(
      jax.random.normal(k, (n, rank), w.dtype)
      for k, n in zip(keys, w.shape, strict=True)
    )
    found, _ = jax.lax.scan(sweep, first, length=sweeps)
    made = _mm("ir,jr,sr,tr->ijst", *found)
    return found, jnp.square(made - w).sum()

  found, error = jax.vmap(one)(jax.random.split(key, restarts))
  best = jnp.argmin(jnp.where(jnp.isfinite(error), error, jnp.inf))
  b, c, a, d = (f[best] for f in found)
  return {"a": a, "b": b, "c": c, "d": d.T}


def energy_rank(singular: Any, energy: float) -> int:
  """The smallest R whose squared singular values sum to so much of all.

  Args:
    singular: singular values, descending.
    energy: the part, in (0, 1].

  Returns:
    R.
  """
  squares = np.cumsum(np.square(np.asarray(singular, np.float64)))
  return int(np.searchsorted(squares, energy * squares[-1] * (1 - 1e-12))) + 1


def pays(rank: int, m: int, n: int) -> bool:
  """Whether factors of that rank are smaller: R < m n / (m + n)."""
  return rank < m * n / (m + n)


def low_rank(
  name: str,
  rank: float,
  *,
  include: trees.Patterns = "*",
  exclude: trees.Patterns = "*head*",
) -> Transform:
  """Writes kernels as factors, which are then trained.

  Args:
    name: "svd" (dense kernels), "cp", "tucker" or "vh" (convolutions'). A 1x1
      convolution is left alone.
    rank: 1 or more is R itself (at most the full rank); below 1 a part of the
      full rank (of CP, of the larger number of channels). Tucker-2 takes it for
      the inputs' and the outputs' rank.
    include: patterns of the kernels' paths.
    exclude: patterns of what is left alone.

  Returns:
    The transform; the factors stand in the kernel's place. Kernels that factors
    would not make smaller stay as they are, unless R was given.

  Raises:
    UsageError: for a rank that is not positive; in `init` where nothing fits.
  """
  if not rank > 0:
    raise UsageError(f"{name}:{rank:g}: a rank is above 0")

  def of(full):
    return min(full, int(rank)) if rank >= 1 else max(1, round(rank * full))

  def factor(key, w):
    if name == "svd":
      r = of(min(w.shape))
      smaller = rank >= 1 or pays(r, *w.shape)
      return {"svd": svd(w, r)} if smaller else None
    h, width, s, t = w.shape
    if name == "vh":
      return {"vh": vertical_horizontal(w, of(min(s * h, width * t)))}
    if name == "tucker":
      return {"tucker": tucker(w, (of(s), of(t)))}
    # The rank of a tensor may exceed its sides.
    r = int(rank) if rank >= 1 else of(max(s, t))
    return {"cp": cp(w, r, key)}

  def init(key, params):
    wanted = 2 if name == "svd" else 4
    new = {}
    for i, (path, w) in enumerate(
      trees.kernels(params, include, exclude).items()
    ):
      window = w.shape[:-2]
      if w.ndim == wanted and (wanted == 2 or max(window) > 1):
        found = factor(jax.random.fold_in(key, i), w)
        if found is not None:
          new[path] = found
    if not new:
      raise UsageError(f"{name}: no kernel that it could factor")
    return trees.replace(params, new), {}

  return Transform(name, "factors", init)
