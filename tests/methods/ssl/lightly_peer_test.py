"""lightly beside ours: what is refused; its training, where it is installed."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import fields, optim
from kd_jax.backbones import pretrained
from kd_jax.methods.ssl import arms, learners, lightly_peer, recipes, state
from kd_jax.methods.ssl import steps as stepping


def images(path, side=32, channels=3, count=8):
  shape = (count, side, side, channels)
  one = {"image": np.zeros(shape, np.uint8), "label": np.arange(count) % 2}
  np.savez(
    path, **{f"{s}_{k}": v for s in ("train", "test") for k, v in one.items()}
  )
  return str(path)


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (["FILE", "moco"], "invalid choice"),
    (["nowhere.npz", "byol"], "there is no file"),
    (["GREY", "byol"], "expected (32, 32, 3)"),
    (["FILE", "byol", "--batch-size", "9"], "batch_size is 9; there are 8"),
    (["FILE", "byol", "--epochs", "0"], "epochs is 0"),
    (["FILE", "byol", "--every", "0"], "every is 0"),
    (["FILE", "byol", "simclr", "--runs", "0"], "runs is 0"),
    (["FILE", "byol", "--batch-size", "4", "--json", "no/r.json"], "no file"),
    (["FILE", "byol", "--batch-size", "4", "--json", "."], "no file"),
    (["FILE", "byol", "--workers", "-1"], "workers and warmup"),
    (["FILE", "byol", "--warmup", "nan"], "warmup is nan"),
    (["FILE", "byol", "--warmup", "inf"], "warmup is inf"),
  ],
)
def test_what_is_refused(tmp_path, capsys, words, said):
  places = {
    "FILE": images(tmp_path / "a.npz"),
    "GREY": images(tmp_path / "b.npz", 8, 1),
  }
  with pytest.raises(SystemExit, match="2"):
    lightly_peer.main([places.get(word, word) for word in words])
  assert said in capsys.readouterr().err


def test_without_lightly(tmp_path, capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, "lightly", None)
  with pytest.raises(SystemExit, match="2"):
    lightly_peer.main([images(tmp_path / "a.npz"), "byol", "--batch-size", "4"])
  assert "pip install lightly torchvision" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", [4, 18])
def test_the_rate(epochs):
  """Ours by the step; once an epoch it is higher, on average by 1/(2 e)."""
  ours = optim.warmup_cosine(1.0, 10 * epochs)
  at = [
    [
      lightly_peer.cosine(step, 10, epochs, smooth=smooth)
      for step in range(10 * epochs)
    ]
    for smooth in (True, False)
  ]
  expected = [float(ours(step)) for step in range(10 * epochs)]
  np.testing.assert_allclose(at[0], expected, atol=1e-6)
  assert at[1] == [at[0][10 * (step // 10)] for step in range(10 * epochs)]
  np.testing.assert_allclose(np.mean(at[1]), 0.5 + 0.5 / epochs)


@pytest.mark.parametrize("arm", lightly_peer.RATES)
def test_its_losses_have_gradients(arm):
  pytest.importorskip("lightly")
  torch = pytest.importorskip("torch")
  module = lightly_peer.make_module(arm).train()
  loss = module(torch.randn(8, 3, 32, 32), torch.randn(8, 3, 32, 32))
  loss.backward()
  assert torch.isfinite(loss)
  assert all(p.grad is not None for p in module.parameters() if p.requires_grad)


def ours(**modules):
  """The parameters of lightly's modules under our names."""
  found = {}
  for part, module in modules.items():
    named = {k: v.detach().numpy().copy() for k, v in module.named_parameters()}
    # A layer of ours is lightly's linear one, its norm and its ReLU.
    linear = [int(k.split(".")[1]) for k, v in named.items() if v.ndim == 2]
    for name, value in named.items():
      if part == "backbone":
        kind = "conv1" if value.ndim == 4 else "bn1"
        name = re.sub(r"^[01]\.", f"{kind}.", name)
        name = re.sub(r"^(\d)\.", lambda m: f"layer{int(m[1]) - 1}.", name)
        name = name.replace("shortcut", "downsample")
        _, *place = pretrained._place(name, "lightly")
      else:
        _, layer, leaf = name.split(".")
        i = sum(at <= int(layer) for at in linear) - 1
        norm = int(layer) not in linear
        leaf = {"weight": "scale" if norm else "kernel"}.get(leaf, leaf)
        place = f"{'norm' if norm else 'dense'}_{i}", leaf
      found[part, *place] = pretrained._transposed(value)
  return found


def astray(tree, first, last):
  """The way between our kernels and lightly's, in parts of how far those went.

  Norms and biases are left out: some of them do not move at all.
  """
  return {
    names: np.linalg.norm(np.asarray(leaf) - last[names])
    / np.linalg.norm(last[names] - first[names])
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    if (names := tuple(key.key for key in path))[-1] == "kernel"
    and names[:2] != ("backbone", "head")
  }


@pytest.mark.parametrize("arm", lightly_peer.RATES)
def test_steps_are_ours(arm, monkeypatch):
  """From the same initial values and views: losses, and where they lead."""
  pytest.importorskip("lightly")
  torch = pytest.importorskip("torch")
  small = {"vicreg": 1e-5}.get(arm, 1e-3)
  rate = {"settings.learning_rate": small, "settings.rate_batch": 0}
  if arm == "vicreg":  # Our recipe is another one.
    rate |= {"settings.optimizer": "sgd", "settings.weight_decay": 5e-4}
    rate |= {"settings.variance": 25.0, "settings.warmup": 0.0}
    rate["settings.projector"] = "2048 bn relu, 2048 bn relu, 2048 bias"
  config = fields.override(
    arms.PRESETS["cifar10"],
    {
      "batch_size": 32,
      "data.labelled": False,
      "dtype": "float32",
      "steps": 10**6,
      **rate,
    },
  )
  settings = recipes.settings(config, arm)
  parts = config, settings, learners.LEARNERS[arm]
  torch.manual_seed(0)
  module = lightly_peer.make_module(arm).train()
  made = state.create_state(*parts, 0, (32, 32, 3), 0)
  names = ["backbone", "projector"] + ["predictor"] * (arm == "byol")
  first = ours(**{name: getattr(module, name) for name in names})

  def put(tree):
    def one(path, leaf):
      names = tuple(key.key for key in path)
      if names[:2] == ("backbone", "head"):
        return leaf
      assert first[names].shape == leaf.shape, names
      return jnp.asarray(first[names])

    return jax.tree_util.tree_map_with_path(one, tree)

  assert len(jax.tree.leaves(made.params)) == len(first) + 2
  made = made.replace(params=put(made.params), slow=put(made.slow))
  images = np.random.default_rng(0).normal(size=(3, 2, 32, 32, 32, 3))
  images = images.astype(np.float32)
  step = stepping.make_train_step(*parts)

  @jax.jit
  def run(made, pair):
    monkeypatch.setattr(stepping.views, "make", lambda *how, **more: [pair])
    return step(made, {"image": pair[0], "row": jnp.arange(32)})

  sgd = torch.optim.SGD(
    [p for p in module.parameters() if p.requires_grad],
    small,
    momentum=lightly_peer.MOMENTUM,
    weight_decay=lightly_peer.DECAY,
  )
  moved = {"byol": 1.0}.get(arm, 0.0)  # Ours is 2 - 2 cos, quartered.
  for pair in images:
    made, found = run(made, jnp.asarray(pair))
    loss = module(*(torch.from_numpy(x).permute(0, 3, 1, 2) for x in pair))
    sgd.zero_grad()
    loss.backward()
    sgd.step()
    mean = found["loss"].total / found["loss"].count
    np.testing.assert_allclose(loss.item() + moved, mean, rtol=1e-3)
  # ReLUs flip by rounding: single numbers differ, the way that was gone not.
  last = ours(**{name: getattr(module, name) for name in names})
  assert max(astray(made.params, first, last).values()) < 0.02
  assert bool(made.slow) == (arm == "byol")
  if arm == "byol":  # lightly's follows when the next step begins.
    module(*(torch.from_numpy(x).permute(0, 3, 1, 2) for x in images[0]))
    last = ours(backbone=module.slow[0], projector=module.slow[1])
    assert max(astray(made.slow, first, last).values()) < 0.1
