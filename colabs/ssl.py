# %% [markdown]
# # ssl: representations without labels
#
# Eight methods (SimCLR, SwAV, MoCo, BYOL, DINO, SimSiam, VICReg, Barlow Twins)
# behind one step. Three of them learn real digits here beside two controls, a
# fourth is made to collapse, and a ninth is written. It takes a few minutes.
#
# `source` is what pip installs: the package's name, or the path of a wheel or
# of a clone of the repository.

# %%
import os

source = os.environ.get("KD_JAX_SOURCE", "kd-jax")
# !%pip install -q {source}

# %%
import jax.numpy as jnp

import kd_jax
from kd_jax import accel
from kd_jax.datasets import sources
from kd_jax.losses.norms import l2_normalize
from kd_jax.methods import ssl
from kd_jax.methods.ssl.learners import scaled

# %% [markdown]
# ## Three methods, two controls, a collapse
#
# `random` is the encoder as it was drawn, `supervised` the same one trained on
# labels. `simsiam_no_stop` is SimSiam without its stopped gradient.

# %%
run = kd_jax.train(
  "ssl",
  workdir="runs/ssl",
  arms=(
    "random",
    "simclr",
    "byol",
    "vicreg",
    "simsiam_no_stop",
    "supervised",
  ),
)
print(run.table())

# %%
from IPython.display import Image, display

for path in sorted((run.workdir / "plots").glob("*.png")):
  print(path.stem)
  display(Image(filename=str(path)))

# %% [markdown]
# ## The encoder, to use
#
# Your own images are an argument: `data={"images": {"image": ..., "label":
# ...}}`, a folder or an `.npz`; labels are not needed
# (`data__labelled=False`).

# %%
encode, variables = kd_jax.load(run.workdir)
digits = sources.load("mnist_5k", "test")
h = encode(variables, digits["image"][:100])
print(h.shape)

# %% [markdown]
# ## A ninth method
#
# A method is a record; this one pulls views together and spreads embeddings
# over the sphere (Wang and Isola 2020).


# %%
def terms(out, s, *, where=None, axis_name=None):
  first, second = (l2_normalize(view.z) for view in out.views)
  every = accel.all_gather(first, axis_name)
  apart = ((first[:, None] - every[None]) ** 2).sum(-1)
  return {
    "alignment": ((first - second) ** 2).sum(-1),
    "uniformity": jnp.log(accel.mean(jnp.exp(-2 * apart).mean(), axis_name)),
  }


ssl.register(
  ssl.Learner(
    "align",
    "alignment and uniformity",
    terms,
    scaled("alignment", "uniformity"),
  )
)
ninth = kd_jax.train("ssl", workdir="runs/ninth", arms=("random", "align"))
print(ninth.table())
