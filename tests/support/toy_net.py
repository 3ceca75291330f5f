"""A test-only method with everything that crosses devices.

A small convolutional net with BatchNorm learns random images from masked
batches by cross entropy and a contrastive term over all devices' rows, with
noise and dropout keyed by row; an epoch function changes the state between
steps. `make_batch` gives batches of its own for tests of lifting alone.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax import accel, losses
from kd_jax.backbones.norm import BatchNorm
from kd_jax.datasets import pipeline
from kd_jax.experiment import Config, Epoch, Evaluation, Method, Phase
from kd_jax.metrics import accuracy
from kd_jax.training.state import State, row_keys
from kd_jax.training.step import make_train_step

CLASSES, WIDTH = 3, 8
TX = optax.sgd(0.1, momentum=0.9)


@dataclasses.dataclass(frozen=True)
class Toy(Config):
  """The toy's configuration.

  Attributes:
    steps: optimizer steps.
    batch_size: rows in the global batch.
    stream: batches come from the host instead of from columns.
    fused: whether steps are fused into one dispatch.
  """

  steps: int = 24
  batch_size: int = 16
  stream: bool = False
  fused: bool = False


class Net(nn.Module):
  train: bool
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x, where):
    x = nn.Conv(WIDTH, (3, 3), use_bias=False)(x)
    x = BatchNorm(not self.train, self.axis_name)(x, where)
    features = nn.relu(x).mean((1, 2))
    return features, nn.Dense(CLASSES)(features)


def make_columns(n=40):
  draw = np.random.default_rng(0)
  return {
    "image": draw.normal(size=(n, 6, 6, 1)).astype(np.float32),
    "label": draw.integers(0, CLASSES, n).astype(np.int32),
    "keep": np.arange(n) % 5 != 0,
  }


def make_batch(n=16):
  """A batch whose rows count unevenly: the last quarter not at all."""
  columns = make_columns(n)
  columns["keep"][-n // 4 :] = False
  return {
    **columns,
    "row": np.arange(n, dtype=np.int32),
    "where": np.ones(n, bool),
  }


def create_state(seed=0):
  image, where = jnp.zeros((1, 6, 6, 1)), jnp.ones(1, bool)
  found = Net(train=False).init(jax.random.key(seed), image, where)
  return State.create(
    seed=seed,
    params=found["params"],
    opt_state=TX.init(found["params"]),
    model_state=found["batch_stats"],
  )


def noisy(key, image):
  dropped = jax.random.bernoulli(key, 0.9, image.shape)
  return image * dropped + 0.1 * jax.random.normal(key, image.shape)


def forward(params, state, batch, key, *, axis_name=None):
  views = [
    jax.vmap(noisy)(
      row_keys(jax.random.fold_in(key, view), batch["row"]), batch["image"]
    )
    for view in range(2)
  ]
  (features, logits), changed = Net(train=True, axis_name=axis_name).apply(
    {"params": params, "batch_stats": state.model_state},
    jnp.concatenate(views),
    jnp.tile(batch["where"], 2),
    mutable=["batch_stats"],
  )
  first, second = jnp.split(features, 2)
  outputs = (jnp.split(logits, 2)[0], first, second)
  return outputs, changed["batch_stats"]


def terms(outputs, batch, *, axis_name=None):
  logits, first, second = outputs
  return {
    "ce": optax.softmax_cross_entropy_with_integer_labels(
      logits, batch["label"]
    ),
    "contrast": losses.nt_xent(
      first,
      second,
      temperature=0.5,
      where=batch["where"],
      axis_name=axis_name,
    ),
  }


def measures(outputs, batch):
  return {"accuracy": accuracy(outputs[0], batch["label"], batch["where"])}


_STEP = make_train_step(
  forward, terms, {"ce": 1.0, "contrast": 0.5}, TX, measures=measures
)


def train_step(state, batch, *, axis_name=None):
  where = batch["where"] & batch["keep"]
  return _STEP(state, {**batch, "where": where}, axis_name=axis_name)


def eval_step(product, batch, *, axis_name=None):
  where = batch["where"] & batch["keep"]
  _, logits = Net(train=False).apply(
    {"params": product["params"], "batch_stats": product["stats"]},
    batch["image"],
    where,
  )
  found = {"accuracy": accuracy(logits, batch["label"], where)}
  return accel.sum(found, axis_name)


def shrink(state, data, *, axis_name=None):
  del data, axis_name
  params = jax.tree.map(lambda p: 0.99 * p, state.params)
  norm = sum(jnp.abs(p).sum() for p in jax.tree.leaves(params))
  record = {"norm": norm, "half": jnp.stack([norm / 2, norm / 4])}
  return state.replace(params=params), record


def phases(config, data, say):
  columns = make_columns()
  records = [
    {k: v[i] for k, v in columns.items()} for i in range(len(columns["keep"]))
  ]

  def stream(step):
    return pipeline.stream(
      records, config.seed, config.batch_size, start_step=step, threads=2
    )

  step = pipeline.from_columns(train_step, config.batch_size)
  return [
    Phase(
      "train",
      lambda products, seed: create_state(seed),
      train_step if config.stream else step,
      config.steps,
      data=None if config.stream else columns,
      stream=stream if config.stream else None,
      product=lambda s: {"params": s.params, "stats": s.model_state},
      evaluations={
        "test": Evaluation(pipeline.over_columns(eval_step, 16), columns)
      },
      epoch=Epoch(shrink, 9, {"none": np.zeros(1, np.float32)}),
      arm="net",
      fused=config.fused,
      batch_size=config.batch_size,
    )
  ]


METHOD = Method(
  name="toy_net",
  title="A net with BatchNorm and a contrast",
  task="tests",
  presets={"small": Toy(arms=("net",), log_every=5, save_every=8)},
  phases=phases,
  arms={"net": "the net"},
  main="net",
  headline={"test_accuracy": "accuracy"},
  apply=lambda config, products: (
    lambda variables, x: Net(train=False).apply(
      variables, x, jnp.ones(len(x), bool)
    )[1],
    {
      "params": products["net.train"]["params"],
      "batch_stats": products["net.train"]["stats"],
    },
  ),
)
