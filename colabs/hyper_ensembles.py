# %% [markdown]
# # Ensembles over weights and hyperparameters
#
# A deep ensemble is K networks of one setting. A hyper-deep ensemble (Wenzel et
# al. 2020) varies the setting, too: a random search, a greedy choice from it,
# the chosen ones trained from other initial values, a choice again. A
# hyper-batch ensemble puts all of it into one network that tunes itself. A few
# minutes on two cores, with or without an accelerator.
#
# `source` is what pip installs: the package's name, or the path of a wheel or
# of a clone of the repository.

# %%
import os
import subprocess
import sys

SHOW = "import jax; print(jax.__version__, jax.devices())"
before = subprocess.run(
  [sys.executable, "-c", SHOW], capture_output=True, text=True
).stdout
print("before:", before or "no JAX")
source = os.environ.get("KD_JAX_SOURCE", "kd-jax")
# !%pip install -q "{source}"

# %% [markdown]
# Installing must not have moved JAX: a new version without its plugin would
# leave you on the CPU.

# %%
after = subprocess.run(
  [sys.executable, "-c", SHOW], capture_output=True, text=True
).stdout
print("after: ", after)
if before and before != after:
  raise RuntimeError("the installation changed JAX or its devices")

# %% [markdown]
# ## Digits with wrong labels
#
# Real digits, 30 % of the training labels drawn at random, four seeds in one
# program. NLL and ECE are of the ensemble, "member NLL" is the mean over its
# members.

# %%
import kd_jax

run = kd_jax.train(
  "hyper_ensembles",
  workdir="runs/digits",
  seeds=4,
  runs=16,
  steps=600,
  arms=("single", "deep", "hyper_deep", "batch", "hyper_batch"),
)
print(run.table())

# %% [markdown]
# Reliability diagrams, what corruption does, and where the hyper-batch
# ensemble's hyperparameters went.

# %%
from IPython.display import Image, display

for path in sorted((run.workdir / "plots").glob("*.png")):
  print(path.stem)
  display(Image(filename=str(path)))

# %% [markdown]
# The ensemble as a function of images:

# %%
import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
images = np.round(digits.images / 16 * 255).astype(np.uint8)[..., None]
apply, variables = kd_jax.load(run.workdir)
p = np.asarray(apply(variables, images[:5]))
print(p.argmax(-1), "with", p.max(-1).round(2), "; they are", digits.target[:5])

# %% [markdown]
# ## Your own model and data
#
# A training is a pure function of a key and a vector of hyperparameters. It is
# vmapped: the whole search is one program. Before it starts you are told what
# it will cost.

# %%
import jax
import jax.numpy as jnp
import optax

from kd_jax.methods.hyper_ensembles.search import hyper_deep_ensemble
from kd_jax.methods.hyper_ensembles.space import Space

x = jnp.asarray(digits.data / 16, jnp.float32)
y = jnp.asarray(digits.target)
order = np.random.default_rng(0).permutation(len(x))
learn, held, test = np.split(order, [300, 500])
space = Space(("weight_decay", "noise"), (1e-5, 1e-2), (1e-1, 1.0))


def logits(w, x):
  return jnp.tanh(x @ w["a"]) @ w["b"]


def train(key, lam, data):
  first, second, noise = jax.random.split(key, 3)
  w = {
    "a": jax.random.normal(first, (64, 32)) / 8,
    "b": jax.random.normal(second, (32, 10)) / 6,
  }
  tx = optax.adamw(1e-2, weight_decay=lam[0])

  def step(carry, i):
    w, state = carry
    drawn = jax.random.normal(jax.random.fold_in(noise, i), data["x"].shape)

    def loss(w):
      z = logits(w, data["x"] + lam[1] * drawn)
      return optax.softmax_cross_entropy_with_integer_labels(
        z, data["y"]
      ).mean()

    updates, state = tx.update(jax.grad(loss)(w), state, w)
    return (optax.apply_updates(w, updates), state), None

  return jax.lax.scan(step, (w, tx.init(w)), jnp.arange(150))[0][0]


ensemble = hyper_deep_ensemble(
  train,
  logits,
  space,
  {"x": x[learn], "y": y[learn]},
  (x[held], y[held]),
  members=3,
  runs=20,
)
p = ensemble(x[test])
nll = -jnp.log(p[jnp.arange(len(test)), y[test]]).mean()
right = (p.argmax(-1) == y[test]).mean()
print("test NLL", float(nll), "accuracy", float(right))
for weight, lam in zip(ensemble.weights, ensemble.lams, strict=True):
  print(f"weight {weight:.2f}:", space.names, lam.round(5))

# %% [markdown]
# ## The layers alone
#
# Members stand on a leading axis; the hyper layer takes a transformed lambda of
# each member and example, and its exact L2 penalty is there for the asking.

# %%
from kd_jax.methods.hyper_ensembles.hyper_layers import DenseHyperBatchEnsemble
from kd_jax.methods.hyper_ensembles.layers import Nu

layer = DenseHyperBatchEnsemble(features=5, members=3)
batch = jnp.ones((1, 8, 64))  # Shared by the members.
z = jax.random.uniform(jax.random.key(0), (3, 8, 2), minval=-1)
parameters = layer.init(jax.random.key(1), batch, z)
nu = Nu(kernel=jnp.full((3, 8), 0.1), bias=jnp.full((3, 8), 0.1))
out, found = layer.apply(parameters, batch, z, nu, mutable=["l2"])
print(out.shape, "penalty", found["l2"]["value"][0])

# %% [markdown]
# Next: `kd_jax.reproduce("hyper_ensembles", seeds=10)` judges the paper's
# sentences; the presets `paper`, `paper_cifar100`, `paper_lenet` ... are the
# published experiments.
