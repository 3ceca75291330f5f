# %% [markdown]
# # kd_jax: compose your own
#
# Losses are plain functions on arrays, a method's step comes apart into
# `forward` and `terms`, a network is any flax model. Here each is taken out of
# its place: a loss in a loop without anything else of this package; KD³'s
# pieces in a loop of your own; a term and a student that the method does not
# know; and the same on one device and on all of them.
#
# `source` is what pip installs: the package's name, or the path of a wheel or
# of a clone of the repository.

# %%
import os

# Without an accelerator the CPU shows itself as four devices.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
source = os.environ.get("KD_JAX_SOURCE", "kd-jax")
# !%pip install -q {source}

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax import accel, backbones, losses, metrics
from kd_jax.datasets import pipeline, sources

print(jax.devices())

# %% [markdown]
# ## A loss in a loop of twenty lines
#
# A linear student is distilled from a linear teacher that saw the labels of
# 1,442 real digits. `where` says which rows count: the last batch is padded.

# %%
digits = sources.load("digits", "train")
test = sources.load("digits", "test")


def flat(images):
  return np.asarray(images, np.float32).reshape(len(images), -1) / 255


x, y = flat(digits["image"]), digits["label"]
tx = optax.adam(1e-2)


def fit(loss_fn, steps=200, batch=128):
  params = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}
  opt_state = tx.init(params)

  @jax.jit
  def step(params, opt_state, rows, where):
    loss, grads = jax.value_and_grad(loss_fn)(params, rows, where)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss

  for i in range(steps):
    start = i * batch % len(x)
    rows = np.arange(start, start + batch)
    where = rows < len(x)
    rows = np.minimum(rows, len(x) - 1)
    params, opt_state, loss = step(params, opt_state, rows, where)
  return params, float(loss)


def logits(params, x):
  return x @ params["w"] + params["b"]


def supervised(params, rows, where):
  value = optax.softmax_cross_entropy_with_integer_labels(
    logits(params, x[rows]), jnp.asarray(y)[rows]
  )
  return losses.combine({"labels": value}, {"labels": 1.0}, where=where)[0]


x = jnp.asarray(x)
teacher, _ = fit(supervised)


def distilled(params, rows, where):
  terms = {
    "kd": losses.distillation_kl(
      logits(params, x[rows]), logits(teacher, x[rows]), where=where
    ),
    "l2": 0.5 * optax.tree.norm(params, squared=True),
  }
  return losses.combine(terms, {"kd": 1.0, "l2": 1e-4}, where=where)[0]


student, _ = fit(distilled)
for name, params in (("teacher", teacher), ("student", student)):
  guess = logits(params, flat(test["image"])).argmax(-1)
  print(name, "test accuracy", float((guess == test["label"]).mean()))

# %% [markdown]
# ## A method's pieces
#
# KD³'s `forward` gives named arrays, its `terms` losses of them. They are
# called in a loop of our own, with attention transfer beside the method's
# terms. The student is a flax model of our own, whose last layer is a `Head`.

# %%
from kd_jax.methods.kd3 import METHOD, selection, steps
from kd_jax.methods.kd3.model import network
from kd_jax.methods.kd3.state import create_state


class Mine(nn.Module):
  num_classes: int
  axis_name: str | None = None
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, *, train, where=None):
    x = nn.gelu(nn.Conv(8, (3, 3), strides=2)(x))
    x = nn.gelu(nn.Conv(16, (3, 3))(x))
    return backbones.Head(self.num_classes, name="head")(x)


backbones.register("mine", Mine)
tiny = METHOD.presets["tiny"]

# %%
import dataclasses

config = dataclasses.replace(
  tiny, student=dataclasses.replace(tiny.student, name="mine")
)
shape = digits["image"].shape[1:]
columns = {"image": digits["image"]}
net = network(config.teacher, 10)
variables = net.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
pool = {
  "index": jnp.arange(len(x), dtype=jnp.int32),
  "count": jnp.int32(len(x)),
  "teacher_accuracy": jnp.float32(0.9),
}


def fresh(tx):
  return create_state(config, 0, shape, variables, pool, tx=tx)


def attention(outputs, batch, *, axis_name=None):
  found = losses.attention_transfer(
    outputs.projected, outputs.fT, where=batch.get("where")
  )
  return {"attention": found}


# %% [markdown]
# In a loop without our step:

# %%
tx = optax.adam(1e-3)
state = fresh(tx)
weights = {**steps.weights(config), "attention": 0.5}


@jax.jit
def own_step(params, model_state, opt_state, batch, key):
  def loss_fn(params):
    now = state.replace(model_state=model_state)
    outputs, moved = steps.forward(config, params, now, batch, key)
    terms = steps.terms(config, outputs, batch) | attention(outputs, batch)
    loss, parts = losses.combine(terms, weights)
    return loss, (parts, moved)

  grads, (parts, moved) = jax.grad(loss_fn, has_aux=True)(params)
  updates, opt_state = tx.update(grads, opt_state, params)
  return optax.apply_updates(params, updates), moved, opt_state, parts


params, moved, opt_state = state.params, state.model_state, state.opt_state
for i in range(20):
  rows = np.arange(32 * i, 32 * (i + 1))
  batch = {"image": jnp.asarray(digits["image"][rows]), "row": jnp.arange(32)}
  key = jax.random.fold_in(jax.random.key(1), i)
  params, moved, opt_state, parts = own_step(
    params, moved, opt_state, batch, key
  )
  if i % 5 == 0:
    print(i, metrics.compute(parts))

# %% [markdown]
# And with our step, which takes `extra_terms`, on one device and on all:

# %%
step = steps.make_train_step(
  config, tx=tx, extra_terms=[(attention, {"attention": 0.5})]
)
step = pipeline.from_columns(step, 32, draw=selection.draw)


def train(devices, count=5):
  run = accel.data_parallel(step, data="replicated", devices=devices)
  state = accel.place(fresh(tx), devices)
  data = accel.place(columns, devices)
  for _ in range(count):
    state, found = run(state, data)
  return state, metrics.compute(found)


one, logged = train(jax.devices()[:1])
every, same = train(jax.devices())
print("1 device: ", logged)
print(f"{len(jax.devices())} devices:", same)
apart = max(
  float(np.abs(np.asarray(a) - np.asarray(b)).max())
  for a, b in zip(
    jax.tree.leaves(one.params), jax.tree.leaves(every.params), strict=True
  )
)
print("parameters differ by at most", apart)
assert apart < 1e-3

# %% [markdown]
# `LOSSES.md` in the repository, or `kd-jax list --losses`, shows every loss
# with its shapes, equation and source.
