"""The survey's others: depth, capacity and computation that vary.

Sources: Huang et al. 2016 (stochastic depth, arXiv 1603.09382); Almahairi et
al. 2016 (dynamic capacity networks, arXiv 1511.07838); Shazeer et al. 2017
(noisy top-k gating, arXiv 1701.06538); Teerapittayanon et al. 2016 (BranchyNet,
early exit, arXiv 1709.01686). Shapes are static: an expert has room for so
many examples, and a batch in which some leave early is computed whole.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

# E1: stochastic depth.


def survival(depth: int, last: float = 0.5) -> Float[np.ndarray, "l"]:
  """p_l = 1 - (l / L) (1 - p_L), l = 1 ... L.

  Args:
    depth: L.
    last: p_L; the paper's is 0.5.

  Returns:
    The chance of each block to be there.
  """
  return 1 - np.arange(1, depth + 1) / depth * (1 - last)


def stochastic_block(
  branch: Callable[[Array], Array],
  x: Float[Array, "*b"],
  shortcut: Float[Array, "*b"],
  p: float,
  key: Key[Array, ""] | None,
) -> Float[Array, "*b"]:
  """relu(gate F(x) + shortcut), one gate for the mini-batch.

  In training the branch is not computed where its gate is shut (`cond`, not a
  product). What the branch moves (statistics) must be returned by it in the
  form of its output: it is a pure function here.

  Args:
    branch: F.
    x: activations.
    shortcut: x, or what stands for it where the shape changes.
    p: the block's chance.
    key: draws the gate; None is the test: relu(p F(x) + shortcut).

  Returns:
    The activations.
  """
  if key is None:
    return jax.nn.relu(p * branch(x) + shortcut)
  gate = jax.random.bernoulli(key, p)
  return jax.lax.cond(
    gate,
    lambda: jax.nn.relu(branch(x) + shortcut),
    lambda: jax.nn.relu(shortcut),
  )


# E2: dynamic capacity.


def saliency(
  classify: Callable[[Array], Array], coarse: Float[Array, "b i j d"]
) -> Float[Array, "b i j"]:
  """M_ij = || d H(softmax(classify(c))) / d c_ij ||, H the entropy.

  Args:
    classify: from coarse vectors to logits, example by example.
    coarse: c.

  Returns:
    How much each place's vector moves the doubt.
  """

  def doubt(c):
    log_p = jax.nn.log_softmax(classify(c))
    return -(jnp.exp(log_p) * log_p).sum()

  return jnp.linalg.norm(jax.grad(doubt)(coarse), axis=-1)


def refine(
  fine: Callable[[Array], Array],
  images: Float[Array, "b h w c"],
  coarse: Float[Array, "b i j d"],
  scores: Float[Array, "b i j"],
  k: int,
  field: tuple[int, int],
) -> tuple[Float[Array, "b i j d"], Float[Array, "b k d"], Int[Array, "b k"]]:
  """Computes the k most salient places anew, each from its patch.

  Args:
    fine: patches (n, f, f, c) to vectors (n, d).
    images: the images.
    coarse: vectors of every place.
    scores: `saliency`.
    k: how many places.
    field: (stride, extent) of a place's receptive field, without padding: place
      (i, j) sees pixels from (stride i, stride j) on.

  Returns:
    The vectors with the fine ones in place; the fine ones; and their places
    (i J + j), for the hint between them and the coarse ones.
  """
  b, _, width, d = coarse.shape
  stride, extent = field
  flat = coarse.reshape(b, -1, d)
  _, place = jax.lax.top_k(scores.reshape(b, -1), k)

  def patch(image, at):
    corner = (at // width * stride, at % width * stride, 0)
    size = (extent, extent, image.shape[-1])
    return jax.lax.dynamic_slice(image, corner, size)

  patches = jax.vmap(lambda i, at: jax.vmap(lambda a: patch(i, a))(at))(
    images, place
  )
  vectors = fine(patches.reshape(b * k, *patches.shape[2:])).reshape(b, k, d)
  swapped = jax.vmap(lambda f, at, v: f.at[at].set(v))(flat, place, vectors)
  return swapped.reshape(coarse.shape), vectors, place


# E3: conditional computation.


class Gates(NamedTuple):
  """Which experts an example goes to.

  Attributes:
    weights: softmax over the k that were kept, 0 elsewhere.
    importance: CV^2 of the experts' summed weights: a number of the batch.
  """

  weights: Float[Array, "b e"]
  importance: Float[Array, ""]


def noisy_top_k(
  x: Float[Array, "b d"],
  gate: Float[Array, "d e"],
  noise: Float[Array, "d e"],
  k: int,
  key: Key[Array, ""] | None,
) -> Gates:
  """H = x Wg + N(0, 1) softplus(x Wn), of which the k largest are kept.

  Args:
    x: examples.
    gate: Wg.
    noise: Wn.
    k: experts an example goes to.
    key: draws the noise; None leaves it out.

  Returns:
    The gates; add w times `importance` to the loss.
  """
  h = jnp.matmul(x, gate, precision="highest")
  if key is not None:
    spread = jax.nn.softplus(jnp.matmul(x, noise, precision="highest"))
    h = h + jax.random.normal(key, h.shape) * spread
  _, best = jax.lax.top_k(h, k)
  kept = jax.nn.one_hot(best, h.shape[1], dtype=bool).any(1)
  weights = jax.nn.softmax(jnp.where(kept, h, -jnp.inf))
  total = weights.sum(0)
  square = total.var() / jnp.maximum(total.mean() ** 2, 1e-10)
  return Gates(weights, square)


def dispatch(
  weights: Float[Array, "b e"], capacity: int
) -> Bool[Array, "b e c"]:
  """Seats examples at their experts, in order, as long as there is room.

  Args:
    weights: of the gates.
    capacity: seats of an expert.

  Returns:
    True where an example has a seat; who finds none is left out.
  """
  wanted = weights > 0
  seat = jnp.cumsum(wanted, 0) - 1
  places = jnp.arange(capacity)
  return wanted[..., None] & (seat[..., None] == places[None, None])


def mixture(
  experts: Callable[[Array], Array],
  x: Float[Array, "b d"],
  weights: Float[Array, "b e"],
  capacity: int,
) -> Float[Array, "b o"]:
  """Sum of the experts' answers by their weights; each sees its seats alone.

  Args:
    experts: (e, c, d) to (e, c, o), each expert its own rows.
    x: examples.
    weights: of the gates.
    capacity: seats of an expert.

  Returns:
    The answers; 0 for who had no seat.
  """
  seats = dispatch(weights, capacity).astype(x.dtype)
  inside = jnp.einsum("bec,bd->ecd", seats, x, precision="highest")
  answers = experts(inside)
  return jnp.einsum(
    "bec,be,eco->bo", seats, weights, answers, precision="highest"
  )


def exit_terms(
  logits: Sequence[Float[Array, "b c"]], labels: Int[Array, "b"]
) -> tuple[dict[str, Float[Array, "b"]], dict[str, float]]:
  """Cross-entropy of each exit, and weights that sum to 1.

  Args:
    logits: of the exits, in order.
    labels: the classes.

  Returns:
    Terms and weights for `losses.combine`.
  """
  loss = optax.softmax_cross_entropy_with_integer_labels
  terms = {f"exit_{i}": loss(z, labels) for i, z in enumerate(logits)}
  return terms, dict.fromkeys(terms, 1 / len(terms))


def early_exit(
  logits: Sequence[Float[Array, "b c"]], threshold: float
) -> tuple[Float[Array, "b c"], Int[Array, "b"]]:
  """The first exit whose entropy is below a threshold, else the last.

  Args:
    logits: of the exits, in order.
    threshold: nats.

  Returns:
    The logits taken, and which exit they are of. All exits were computed: a
    batch saves nothing unless it is gathered anew.
  """

  def doubt(z):
    log_p = jax.nn.log_softmax(z)
    return -(jnp.exp(log_p) * log_p).sum(-1)

  every: Any = jnp.stack(list(logits))
  sure = jnp.stack([doubt(z) < threshold for z in logits])
  sure = sure.at[-1].set(True)
  first = jnp.argmax(sure, 0)
  taken = jnp.take_along_axis(every, first[None, :, None], 0)[0]
  return taken, first
