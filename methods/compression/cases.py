"""The benchmark's rows: cut networks, decompositions, clustering, training.

A step is a forward pass of a batch, a whole decomposition or clustering, or a
training step. Networks of one row and its dense one take the same batch, so
that their times are the speed-up.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import backbones, experiment, metrics
from kd_jax.methods.compression import (
  channels,
  factors,
  forms,
  hosts,
  magnitude,
  meter,
  peers,
  protocol,
  sharing,
  training,
)
from kd_jax.methods.compression.config import Config
from kd_jax.methods.compression.model import Model

BATCH, SIZE = 128, 32
WIDTHS, STRIDES = (64, 128, 128), (1, 2, 1)
KERNEL, RANKS, SWEEPS = (3, 3, 256, 256), (64, 64), 10
CP_RANK, CP_SWEEPS = 32, 10
WEIGHTS, CENTROIDS = 235_200, 31


def _cnn() -> Model:
  module = backbones.SmallCNN(10, WIDTHS, STRIDES)
  return Model(module, (SIZE, SIZE, 3))


def _mlp() -> Model:
  return Model(hosts.MLP(10, (1024, 1024)), (SIZE, SIZE, 1))


@functools.cache
def _half(make: Callable[[], Model]) -> tuple[Any, Any, dict[int, np.ndarray]]:
  """The dense variables, those of half the channels, and which are gone."""
  model = make()
  dense = jax.device_get(model.init(jax.random.key(0)))
  small, _ = channels.filters(model, 0.5).rebuild(dense)
  gone = {}
  for i in range(len(WIDTHS)):
    leaf = dense["params"].get(f"conv_{i}")
    if leaf is not None:
      score = np.abs(leaf["kernel"]).sum((0, 1, 2))
      gone[i] = np.sort(np.argsort(-score, kind="stable")[len(score) // 2 :])
  return dense, small, gone


def forward_case(make: Callable[[], Model], small: bool) -> experiment.Phase:
  """A forward pass of a batch.

  Args:
    make: the network.
    small: whether half of its channels are gone.

  Returns:
    The phase to time.
  """
  model = make()
  variables = _half(make)[1 if small else 0]

  def step(state, data, *, axis_name=None):
    del axis_name
    logits = model.logits(state["variables"], data)
    return state, {"logits": metrics.mean(logits)}

  return experiment.Phase(
    name="forward",
    init=lambda products, seed: {"variables": variables},
    step=step,
    steps=1,
    data=np.ones((BATCH, *model.image), np.float32),
    # In a loop the compiler would compute the same pass once.
    fused=False,
    batch_size=BATCH,
  )


def forward_flops(make: Callable[[], Model], small: bool) -> float:
  """Operations of such a pass."""
  variables = _half(make)[1 if small else 0]
  return 2.0 * BATCH * meter.multiply_adds(make(), variables)


def masked_case() -> experiment.Phase:
  """A forward pass of a network that is 90 % zeros, at its full shape."""
  model = _mlp()
  dense = _half(_mlp)[0]
  scheme = magnitude.prune(0.9)
  params, state = scheme.init(jax.random.key(0), dense["params"])
  zeros = jax.device_get({"params": scheme.finalize(params, state)})
  phase = forward_case(_mlp, False)

  def step(state, data, *, axis_name=None):
    del axis_name
    return state, {"logits": metrics.mean(model.logits(state, data))}

  return experiment.Phase(
    name="masked",
    init=lambda products, seed: zeros,
    step=step,
    steps=1,
    data=phase.data,
    fused=False,
    batch_size=BATCH,
  )


def _kernel() -> np.ndarray:
  return np.random.default_rng(0).normal(size=KERNEL).astype(np.float32)


def decompose_case(name: str) -> experiment.Phase:
  """A decomposition of a 3x3 kernel of 256 channels.

  Args:
    name: "tucker" or "cp".

  Returns:
    The phase to time; its metric is the error over the kernel's size.
  """

  def step(state, w, *, axis_name=None):
    del axis_name
    if name == "tucker":
      leaf = {"tucker": factors.tucker(w, RANKS, SWEEPS)}
    else:
      key = jax.random.key(0)
      found = factors.cp(w, CP_RANK, key, sweeps=CP_SWEEPS, restarts=1)
      leaf = {"cp": found}
    error = jnp.linalg.norm(forms.weights(leaf) - w) / jnp.linalg.norm(w)
    return state, {"error": metrics.mean(error)}

  return experiment.Phase(
    name="decompose",
    init=lambda products, seed: {"seed": seed},
    step=step,
    steps=1,
    data=_kernel(),
    fused=False,
  )


def _weights() -> np.ndarray:
  return np.random.default_rng(0).normal(size=WEIGHTS).astype(np.float32)


def kmeans_case() -> experiment.Phase:
  """Thirty Lloyd steps on as many weights as LeNet's first layer has."""

  def step(state, w, *, axis_name=None):
    del axis_name
    centroids, codes = sharing.kmeans(w, CENTROIDS)
    nearest = centroids[jnp.maximum(codes, 1) - 1]
    return state, {"error": metrics.mean((nearest - w) ** 2)}

  return experiment.Phase(
    name="kmeans",
    init=lambda products, seed: {"seed": seed},
    step=step,
    steps=1,
    data=_weights(),
    fused=False,
    batch_size=WEIGHTS,
  )


def train_case() -> experiment.Phase:
  """A training step of LeNet-300-100 under a gradual mask."""
  config = Config()
  model = Model(hosts.MLP(10), (28, 28, 1))
  scheme = protocol.chain(magnitude.prune(0.9, schedule=(0, 350, 25)))
  step = training.make_train_step(config, model, scheme, 1e-3, 500)
  rng = np.random.default_rng(0)
  batch = {
    "image": rng.integers(0, 256, (config.batch_size, 28, 28, 1)).astype(
      np.uint8
    ),
    "label": rng.integers(0, 10, config.batch_size).astype(np.int32),
    "where": np.ones(config.batch_size, bool),
  }

  def init(products, seed):
    del products
    params = model.init(jax.random.key(seed))["params"]
    params, states = scheme.init(jax.random.key(1), params)
    return training.create_state(
      config, scheme, states, {"params": params}, seed, 1e-3, 500
    )

  return experiment.Phase(
    name="train",
    init=init,
    step=step,
    steps=1,
    data=batch,
    batch_size=config.batch_size,
  )


def _tp_peer() -> peers.Run:
  gone = _half(_cnn)[2]
  return peers.torch_pruning(WIDTHS, STRIDES, gone, BATCH, SIZE)


def _case(name, make, flops=None, peer=()) -> experiment.Case:
  return experiment.Case(name, make, flops or (lambda: None), peers=tuple(peer))


def _forward(name, make, small, peer=()) -> experiment.Case:
  return _case(
    name,
    functools.partial(forward_case, make, small),
    functools.partial(forward_flops, make, small),
    peer,
  )


CASES = (
  _forward("forward, dense 1024-1024-1024, batch 128", _mlp, False),
  _forward("the same, half of its units gone", _mlp, True),
  _case("the same, 90 % zeros", masked_case),
  _forward("forward, CNN 64-128-128, 32x32, batch 128", _cnn, False),
  _forward(
    "the same, half of its channels gone",
    _cnn,
    True,
    [experiment.Peer("torch-pruning 1.6 (PyTorch), same channels", _tp_peer)],
  ),
  _case(
    "Tucker-2 of 3x3x256x256, ranks 64, 10 sweeps",
    functools.partial(decompose_case, "tucker"),
    None,
    [
      experiment.Peer(
        "tensorly 0.10 partial_tucker",
        lambda: peers.tensorly_tucker(_kernel(), RANKS, SWEEPS),
      )
    ],
  ),
  _case(
    "CP of 3x3x256x256, rank 32, 10 sweeps",
    functools.partial(decompose_case, "cp"),
    None,
    [
      experiment.Peer(
        "tensorly 0.10 parafac",
        lambda: peers.tensorly_cp(_kernel(), CP_RANK, CP_SWEEPS),
      )
    ],
  ),
  _case(
    "k-means, 235,200 weights, 31 centroids, 30 steps",
    kmeans_case,
    None,
    [
      experiment.Peer(
        "scikit-learn KMeans",
        lambda: peers.scikit_kmeans(_weights(), CENTROIDS, sharing.ITERATIONS),
      )
    ],
  ),
  _case(
    "train step, LeNet-300-100 under a gradual mask, batch 100",
    train_case,
    lambda: 6.0 * 100 * 266_200,
  ),
)
