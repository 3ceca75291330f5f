"""Cases of the benchmark that belong to no method: a network's training step.

Cross-entropy, SGD with momentum and weight decay, the batch drawn from bytes on
the device: what every method's step is built around, beside the same step in
PyTorch. Images are random bytes, which does not change the time.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax import augment, backbones, flops
from kd_jax.datasets import pipeline
from kd_jax.experiment import Case, Peer, Phase
from kd_jax.networks import plain_torch
from kd_jax.training.state import State
from kd_jax.training.step import make_train_step

IMAGES = 2048
TX = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.1, momentum=0.9))


def make_step(
  name: str, classes: int, dtype: str = "float32", microbatches: int = 1
) -> Callable[..., Any]:
  """A supervised training step of a backbone.

  Args:
    name: one of `backbones.NAMES`.
    classes: logits.
    dtype: of the activations.
    microbatches: parts that the batch is taken in.

  Returns:
    `train_step(state, batch, *, axis_name=None)` for batches of "image" (uint8)
    and "label".
  """

  def forward(params, state, batch, key, *, axis_name=None):
    network = backbones.create(
      name, classes, dtype=jnp.dtype(dtype), axis_name=axis_name
    )
    x = augment.to_float(batch["image"])
    return network.apply(
      {"params": params, **state.model_state},
      augment.normalize(x, (0.5,) * 3, (0.25,) * 3),
      train=True,
      mutable=["batch_stats"],
    )

  def terms(outputs, batch, *, axis_name=None):
    loss = optax.softmax_cross_entropy_with_integer_labels
    return {"cross_entropy": loss(outputs.logits, batch["label"])}

  weights = {"cross_entropy": 1.0}
  return make_train_step(forward, terms, weights, TX, microbatches=microbatches)


def create_state(name: str, classes: int, size: int, seed) -> State:
  """A network at step 0.

  Args:
    name: one of `backbones.NAMES`.
    classes: logits.
    size: height and width of its images.
    seed: draws the parameters.

  Returns:
    The state.
  """
  variables = backbones.create(name, classes).init(
    jax.random.key(seed), jnp.zeros((1, size, size, 3)), train=False
  )
  return State.create(
    seed=seed,
    params=variables["params"],
    opt_state=TX.init(variables["params"]),
    model_state={"batch_stats": variables["batch_stats"]},
  )


def train_case(
  name: str,
  size: int,
  classes: int,
  batch_size: int,
  dtype: str = "float32",
  microbatches: int = 1,
) -> Phase:
  """The training step as a phase to time.

  Args:
    name: one of `backbones.NAMES`.
    size: height and width of the images.
    classes: logits.
    batch_size: images per step.
    dtype: of the activations.
    microbatches: parts that the batch is taken in.

  Returns:
    The phase.
  """
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (IMAGES, size, size, 3), dtype=np.uint8)
  label = rng.integers(0, classes, IMAGES).astype(np.int32)
  step = make_step(name, classes, dtype, microbatches)
  return Phase(
    name="step",
    init=lambda products, seed: create_state(name, classes, size, seed),
    step=pipeline.from_columns(step, batch_size),
    steps=1,
    data={"image": image, "label": label},
    batch_size=batch_size,
  )


def train_flops(name: str, size: int, classes: int, batch_size: int) -> int:
  """Model operations of a step: forward, and twice as many back.

  Args:
    name: one of `backbones.NAMES`.
    size: height and width of the images.
    classes: logits.
    batch_size: images per step.

  Returns:
    Floating point operations.
  """
  network = backbones.create(name, classes)
  shape = (1, size, size, 3)
  return 3 * batch_size * flops.forward(network, shape, train=False)


def _case(
  title: str,
  name: str,
  size: int,
  classes: int,
  batch_size: int,
  dtype: str = "float32",
  *,
  accelerator: bool = True,
) -> Case:
  shape = (name, size, classes, batch_size)
  peers = [
    Peer(
      f"PyTorch, {'compiled' if compiled else 'eager'}",
      functools.partial(
        plain_torch.make_run, *shape, dtype=dtype, compiled=compiled
      ),
    )
    for compiled in ((False, True) if accelerator else (False,))
  ]
  short = {"float32": "f32", "bfloat16": "bf16"}[dtype]
  return Case(
    name=f"{title}, {size}x{size}, batch {batch_size}, {short}",
    make=functools.partial(train_case, *shape, dtype),
    flops=functools.partial(train_flops, *shape),
    dtype=dtype,
    accelerator=accelerator,
    peers=peers,
  )


# (title, name, image, classes, batch) of what needs an accelerator.
_LARGE = (
  ("ResNet-18", "resnet18", 32, 10, 1024),
  ("WRN-28-10", "wrn_28_10", 32, 10, 256),
  ("ResNet-50", "resnet50", 224, 1000, 256),
)
CASES = (
  _case("ResNet-18", "resnet18", 32, 10, 64, accelerator=False),
  Case(
    name="ResNet-18, 32x32, batch 64 in 4 microbatches, f32",
    make=functools.partial(train_case, "resnet18", 32, 10, 64, microbatches=4),
    flops=functools.partial(train_flops, "resnet18", 32, 10, 64),
  ),
  *(
    _case(*large, dtype)
    for large in _LARGE
    for dtype in ("float32", "bfloat16")
  ),
)
