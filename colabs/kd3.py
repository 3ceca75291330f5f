# %% [markdown]
# # kd3: your own teacher, your own images
#
# A trained classifier comes as a file of weights, its training images do not;
# the student learns from other images, the useful ones of which are selected
# anew every epoch (KD³, Tang et al., ICCV 2023). It takes a few minutes.
#
# `source` is what pip installs: the package's name, or the path of a wheel or
# of a clone of the repository.

# %%
import os

source = os.environ.get("KD_JAX_SOURCE", "kd-jax")
# !%pip install -q {source}

# %% [markdown]
# ## A teacher in a file
#
# Yours comes out of PyTorch: `safetensors.torch.save_file(model.state_dict(),
# "resnet.safetensors")`, a ResNet with torchvision's or timm's names. Here one
# is trained on real digits, the even ones of each class, and written with the
# same names.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

import kd_jax
from kd_jax import backbones
from kd_jax.datasets import sources

digits = sources.load("digits", "train")
test = sources.load("digits", "test")
known, rest = ({k: v[start::2] for k, v in digits.items()} for start in (0, 1))
net = backbones.ResNet(num_classes=10, blocks=(1, 1), width=16)


def pixels(images):
  return jnp.asarray(images, jnp.float32) / 255


x, y = pixels(known["image"]), jnp.asarray(known["label"])
variables = net.init(jax.random.key(0), x[:1], train=False)
tx = optax.adam(3e-3)
opt_state = tx.init(variables["params"])


@jax.jit
def step(variables, opt_state, rows):
  def loss_fn(params):
    found, moved = net.apply(
      {**variables, "params": params},
      x[rows],
      train=True,
      mutable=["batch_stats"],
    )
    loss = optax.softmax_cross_entropy_with_integer_labels(
      found.logits, y[rows]
    )
    return loss.mean(), moved

  grads, moved = jax.grad(loss_fn, has_aux=True)(variables["params"])
  updates, opt_state = tx.update(grads, opt_state)
  params = optax.apply_updates(variables["params"], updates)
  return {"params": params, **moved}, opt_state


rng = np.random.default_rng(0)
for _ in range(150):
  rows = rng.integers(0, len(x), 64)
  variables, opt_state = step(variables, opt_state, rows)
guess = net.apply(variables, pixels(test["image"]), train=False).logits
print("teacher", float((guess.argmax(-1) == test["label"]).mean()))
backbones.save_resnet("teacher.safetensors", variables)

# %% [markdown]
# ## Images from elsewhere
#
# The web here: digits that the teacher has not seen, and three times as many
# images that are glued from the halves of two. In your case it is a folder, and
# nothing needs a label.

# %%
top = rest["image"].repeat(3, 0)
order = rng.permutation(len(top))
glued = np.concatenate([top[:, :4], top[order][:, 4:]], 1)
web = np.concatenate([rest["image"], glued])
np.savez("web.npz", image=web)

# %% [markdown]
# ## The student
#
# Nothing but the teacher's file and the web is given: what is measured is how
# often the student agrees with the teacher on held-out web images.

# %%
run = kd_jax.train(
  "kd3",
  "own",
  workdir="runs/own",
  **{
    "teacher.file": "teacher.safetensors",
    "data.web": "web.npz",
    "data.mean": (0.0,),
    "data.std": (1.0,),
    "data.max_shift": 1,
    "data.flip": False,
    "data.crop": False,
    "student.name": "small_cnn",
    "student.widths": (16, 32),
    "student.strides": (1, 2),
    "epochs": 10,
    "epoch_steps": 30,
    "optim.learning_rate": 0.3,
  },
)
print(run.table())

# %%
from IPython.display import Image, display

for path in sorted((run.workdir / "plots").glob("*.png")):
  print(path.stem)
  display(Image(filename=str(path)))

# %% [markdown]
# The student, to use:

# %%
apply, student = kd_jax.load(run.workdir)
guess = apply(student, test["image"]).argmax(-1)
print("student", float((guess == test["label"]).mean()))
