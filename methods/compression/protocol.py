"""The protocol of every scheme: init, project, update, finalize, bits.

A transform is a record of pure functions. `init` may put other parameters in
the place of a kernel (two factors, a codebook): it turns the tree before it
into a tree of its own, and `project` is the way back, from what is trained to
what the network is applied with. So transforms compose left to right: with
trees T0 (dense), T1, ..., Tk the network sees project_1(... project_k(Tk)), and
what is trained is Tk.

State travels in the optimizer's: `wrap` makes of any optax transformation one
that keeps it, so that checkpoints and devices come free.

  params, state = scheme.init(key, params)
  tx = protocol.wrap(optax.adam(1e-3), scheme, state)
  opt_state = tx.init(params)
  ... loss(scheme.project(params, opt_state.scheme, opt_state.count)) ...

Notation: W kernel, m mask, step t. Source: Cheng, Wang, Zhou and Zhang, A
Survey of Model Compression and Acceleration, arXiv 1710.09282.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from kd_jax.errors import UsageError

PyTree = Any
Kind = Literal["shape", "factors", "table", "mask", "values", "code"]


def _same(params, state, step=0):
  del state, step
  return params


def _keep(state, params, grads, step):
  del params, grads, step
  return state


def _plain(grads, params, state):
  del params, state
  return grads


@dataclasses.dataclass(frozen=True)
class Transform:
  """A scheme.

  Attributes:
    name: as in a pipeline's text.
    kind: "shape" cuts the network, "factors" writes kernels as products,
      "table" as a hash table or transform, "mask" zeroes weights, "values"
      restricts what they may be, "code" only says how they are written.
    init: `(key, params) -> (params of its own tree, state)`.
    project: `(params, state, step) -> params of the tree before`.
    update: `(state, params, grads, step) -> state`: masks, ranges.
    constrain: `(params, state, step) -> params`, after each optimizer step
      (momentum would revive pruned weights; latent weights are clipped).
    regularise: `(grads, params, state) -> grads`: a subgradient that is added.
    finalize: `(params, state) -> params` in deployable form (`forms`).
    rebuild: of kind "shape": `(variables) -> (variables, report)` on the host,
      a smaller network and how far it is from the masked one.
  """

  name: str
  kind: Kind
  init: Callable[[Key[Array, ""], PyTree], tuple[PyTree, PyTree]]
  project: Callable[..., PyTree] = _same
  update: Callable[..., PyTree] = _keep
  constrain: Callable[..., PyTree] = _same
  regularise: Callable[..., PyTree] = _plain
  finalize: Callable[[PyTree, PyTree], PyTree] = _same
  rebuild: Callable[[PyTree], tuple[PyTree, dict[str, float]]] | None = None


# What may stand to the right of what. A mask's zeros have a place in whatever
# comes after it; a codebook has none for new zeros; a table has no rows to cut.
_AFTER: dict[Kind, tuple[Kind, ...]] = {
  "shape": ("shape", "factors", "table", "mask", "values", "code"),
  "factors": ("mask", "values", "code"),
  "table": ("code",),
  "mask": ("mask", "values", "code"),
  "values": ("code",),
  "code": (),
}
_WHY: dict[Kind, str] = {
  "factors": "the shapes of factors are chosen once",
  "table": "a table has no rows or columns, and no zeros of its own",
  "mask": "cutting or factoring would lose the mask",
  "values": "the values have been chosen, and new ones would undo that",
  "code": "a code is how the result is written",
}


def check_order(transforms: tuple[Transform, ...]) -> None:
  """Refuses what does not compose.

  Args:
    transforms: left to right.

  Raises:
    UsageError: names the two that stand in a wrong order, and why.
  """
  for place, left in enumerate(transforms):
    for right in transforms[place + 1 :]:
      if right.kind not in _AFTER[left.kind]:
        raise UsageError(
          f"{right.name} cannot come after {left.name}: {_WHY[left.kind]}"
        )


def chain(*transforms: Transform) -> Transform:
  """Composes transforms, left to right.

  Args:
    *transforms: in a legal order.

  Returns:
    One transform; its state is a dict, "0_prune", "1_share" and so on.

  Raises:
    UsageError: names two that stand in a wrong order.
  """
  check_order(transforms)
  names = [f"{i}_{t.name}" for i, t in enumerate(transforms)]
  pairs = list(zip(names, transforms, strict=True))

  def init(key, params):
    states = {}
    for i, (name, t) in enumerate(pairs):
      params, states[name] = t.init(jax.random.fold_in(key, i), params)
      params = t.constrain(params, states[name], 0)
    return params, states

  def project(params, states, step):
    for name, t in reversed(pairs):
      params = t.project(params, states[name], step)
    return params

  def update(states, params, grads, step):
    new = {}
    for name, t in reversed(pairs):
      new[name] = t.update(states[name], params, grads, step)
      # Gradients are of the last tree alone.
      params, grads = t.project(params, states[name], step), None
    return {name: new[name] for name in names}

  def constrain(params, states, step):
    for name, t in pairs:
      params = t.constrain(params, states[name], step)
    return params

  def regularise(grads, params, states):
    for name, t in pairs:
      grads = t.regularise(grads, params, states[name])
    return grads

  def finalize(params, states):
    for name, t in reversed(pairs):
      params = t.finalize(params, states[name])
    return params

  return Transform(
    name=" | ".join(t.name for t in transforms) or "nothing",
    kind=transforms[-1].kind if transforms else "shape",
    init=init,
    project=project,
    update=update,
    constrain=constrain,
    regularise=regularise,
    finalize=finalize,
  )


class Wrapped(NamedTuple):
  """The optimizer state of `wrap`.

  Attributes:
    count: steps taken.
    scheme: the transform's state.
    inner: the inner optimizer's state.
  """

  count: Int[Array, ""]
  scheme: PyTree
  inner: PyTree


def wrap(
  tx: optax.GradientTransformation, transform: Transform, state: PyTree
) -> optax.GradientTransformation:
  """An optimizer that carries a transform's state and keeps its constraints.

  Args:
    tx: any optimizer.
    transform: the scheme.
    state: what its `init` gave.

  Returns:
    The optimizer; its state is a `Wrapped`.
  """

  def init(params):
    return Wrapped(jnp.int32(0), state, tx.init(params))

  def update(grads, opt_state, params=None):
    count, scheme, inner = opt_state
    scheme = transform.update(scheme, params, grads, count)
    grads = transform.regularise(grads, params, scheme)
    updates, inner = tx.update(grads, inner, params)
    new = optax.apply_updates(params, updates)
    new = transform.constrain(new, scheme, count)
    updates = jax.tree.map(jnp.subtract, new, params)
    return updates, Wrapped(count + 1, scheme, inner)

  return optax.GradientTransformation(init, update)


def straight_through(w: Array, q: Array) -> Array:
  """The value of q with the gradient of w: w + sg(q - w)."""
  return w + jax.lax.stop_gradient(q - w)


def frozen(transform: Transform) -> Transform:
  """The same, its state fixed and without its penalty (a finished stage).

  Args:
    transform: any.

  Returns:
    The transform.
  """
  return dataclasses.replace(transform, update=_keep, regularise=_plain)


def tune() -> Transform:
  """Trains on, and changes nothing.

  Returns:
    The transform.
  """
  return Transform("tune", "mask", lambda key, params: (params, {}))


def fresh() -> Transform:
  """New weights at the shapes that are there: training from scratch.

  Kernels are drawn as flax's layers draw them (LeCun), scales are 1, biases 0.

  Returns:
    The transform; its `init` draws. It stands where a mask may: after a cut,
    after factors, or after a mask, which it keeps.
  """

  def init(key, params):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    paths = [
      jax.tree_util.keystr(p, simple=True, separator="/")
      for p, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    lecun = jax.nn.initializers.lecun_normal()
    new = []
    for k, path, w in zip(keys, paths, leaves, strict=True):
      if w.ndim >= 2:
        new.append(lecun(k, w.shape, w.dtype))
      else:
        one = path.split("/")[-1] == "scale"
        new.append(jnp.full(w.shape, float(one), w.dtype))
    return jax.tree.unflatten(tree, new), {}

  return Transform("fresh", "mask", init)
