"""The networks, each as single, batch ensemble or hyper-batch ensemble.

`Kit` says which layers a network is built of; the network is written once.
Inputs are (k or 1, b, ...), outputs logits (k, b, classes).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt

from kd_jax import draws
from kd_jax.methods.hyper_ensembles import hyper_layers, layers
from kd_jax.methods.hyper_ensembles.layers import Nu
from kd_jax.methods.hyper_ensembles.pooling import max_pool


class Given(NamedTuple):
  """What a network is told beside its inputs; member and row axes may be 1.

  Attributes:
    z: transformed lambda, for hyper layers.
    nu: L2 coefficient of each group; None leaves the penalty out.
    rates: dropout rate before each layer that has one; None is no dropout.
    key: draws the masks.
    rows: places in the global batch, so that 1 = 4 devices.
  """

  z: Float[Array, "k b h"] | None = None
  nu: Float[Array, "k b g"] | None = None
  rates: Float[Array, "k b d"] | None = None
  key: UInt[Array, "2"] | None = None
  rows: Int[Array, "b"] | None = None


@dataclasses.dataclass(frozen=True)
class Kit:
  """Which layers.

  Attributes:
    kind: "single", "batch" or "hyper".
    members: K; 1 of a single one.
    fast: whether there are fast weights; without them "hyper" is a self-tuning
      network.
    tied: of hyper layers: u = r, v = s.
    fast_init: see `fast.fast_init`.
    regularize_fast: of hyper layers.
    embed_scale: of hyper layers.
    embed_hidden: of hyper layers.
    dtype: of the products; parameters and logits are float32.
  """

  kind: str = "single"
  members: int = 1
  fast: bool = True
  tied: bool = True
  fast_init: float = -0.5
  regularize_fast: bool = False
  embed_scale: float = 1e-4
  embed_hidden: tuple[int, ...] = ()
  dtype: Any = jnp.float32

  def dense(self, features: int, name: str) -> Callable[..., jax.Array]:
    """A dense layer, to call with (x, given, group, bias_group)."""
    made = self._layer("Dense")(features, name=name, **self._settings())
    return self._called(made)

  def conv(
    self, features: int, size: int, name: str, **how: Any
  ) -> Callable[..., jax.Array]:
    """A convolution, to call with (x, given, group, bias_group)."""
    layer, extent = self._layer("Conv"), (size, size)
    return self._called(
      layer(features, extent, name=name, **how, **self._settings())
    )

  def _layer(self, shape: str):
    if self.kind == "hyper":
      return getattr(hyper_layers, f"{shape}HyperBatchEnsemble")
    return getattr(layers, f"{shape}BatchEnsemble")

  def _settings(self) -> dict[str, Any]:
    basic = {
      "members": self.members,
      "fast": self.fast and self.kind != "single",
      "fast_init": self.fast_init,
      "dtype": self.dtype,
    }
    if self.kind != "hyper":
      return basic
    names = ("tied", "regularize_fast", "embed_scale", "embed_hidden")
    return basic | {name: getattr(self, name) for name in names}

  def _called(self, layer):
    def call(x, given, group, bias_group=None):
      nu = _nu(given, group, group if bias_group is None else bias_group)
      if self.kind == "hyper":
        return layer(x, given.z, nu)
      return layer(x, nu)

    return call


def _nu(given: Given, group: int, bias_group: int) -> Nu | None:
  if given.nu is None:
    return None
  return Nu(given.nu[..., group], given.nu[..., bias_group])


def dropout(
  x: Float[Array, "k b ..."], given: Given, place: int, members: int
) -> Float[Array, "k b ..."]:
  """Drops inputs with the rate of each member and example.

  Args:
    x: activations; shared ones are made wide first, for masks are members' own.
    given: rates, key and rows.
    place: which of the rates.
    members: K.

  Returns:
    What is kept, over the chance of being kept.
  """
  if given.rates is None:
    return x
  x = jnp.broadcast_to(x, (members, *x.shape[1:]))
  width = x[0, 0].size
  member = jnp.arange(members, dtype=jnp.uint32)[:, None]
  row = given.rows.astype(jnp.uint32)[None] * jnp.uint32(members) + member
  cell = jnp.arange(width, dtype=jnp.uint32)[None, None]
  u = draws.uniforms(
    draws.branch(given.key, place), row[..., None] * jnp.uint32(width) + cell
  )
  rate = given.rates[..., place]
  rate = rate.reshape(*rate.shape, *(1,) * (x.ndim - 2))
  kept = u.reshape(x.shape) >= rate
  return jnp.where(kept, x / (1 - rate), 0.0)


class Mlp(nn.Module):
  """Dense layers with ReLU, dropout before each.

  Attributes:
    num_classes: how many logits.
    kit: which layers.
    widths: of the hidden layers.
    axis_name: not used: there are no batch statistics.
  """

  num_classes: int
  kit: Kit = Kit()
  widths: Sequence[int] = (200, 200)
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "k b h w c"], given: Given, *, train: bool
  ) -> Float[Array, "m b n"]:
    """Applies the network.

    Args:
      x: images.
      given: lambda in its forms.
      train: not used.

    Returns:
      Logits.
    """
    x = x.reshape(*x.shape[:2], -1)
    for i, width in enumerate((*self.widths, self.num_classes)):
      x = dropout(x, given, i, self.kit.members)
      x = self.kit.dense(width, f"dense_{i}")(x, given, i)
      x = nn.relu(x) if i < len(self.widths) else x
    return x.astype(jnp.float32)


class LeNet(nn.Module):
  """Three 5x5 convolutions and two dense layers; 545,546 parameters at 28x28.

  Source: the network of the published (Fashion-)MNIST baselines

  Attributes:
    num_classes: how many logits.
    kit: which layers.
    channels: of the convolutions.
    width: of the hidden dense layer.
    axis_name: not used: there are no batch statistics.
  """

  num_classes: int
  kit: Kit = Kit()
  channels: Sequence[int] = (6, 16, 120)
  width: int = 84
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "k b h w c"], given: Given, *, train: bool
  ) -> Float[Array, "m b n"]:
    """Applies the network.

    Args:
      x: images.
      given: lambda in its forms.
      train: not used.

    Returns:
      Logits.
    """
    last = len(self.channels)
    for i, features in enumerate(self.channels):
      x = dropout(x, given, i, self.kit.members)
      x = self.kit.conv(features, 5, f"conv_{i}")(x, given, i)
      # Of what is pooled: the same, and its gradient too, on fewer numbers.
      x = nn.relu(x if i == last - 1 else max_pool(x))
    x = x.reshape(*x.shape[:2], -1)
    for i, width in enumerate((self.width, self.num_classes), last):
      x = dropout(x, given, i, self.kit.members)
      x = self.kit.dense(width, f"dense_{i - last}")(x, given, i)
      x = nn.relu(x) if i == last else x
    return x.astype(jnp.float32)
