"""Peers do our work: from the same weights the same step, or the same layer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.methods.hyper_ensembles import cases, learner, peers
from kd_jax.methods.hyper_ensembles.layers import (
  ConvBatchEnsemble,
  DenseBatchEnsemble,
)

torch = pytest.importorskip("torch")
from kd_jax.methods.hyper_ensembles import plain_torch  # noqa: E402

WIDTHS, NETWORKS, BATCH = (64, 64, 64, 10), 2, 16


@pytest.fixture(autouse=True)
def drawn():
  """Adam makes a whole step of a gradient near 0: draws are fixed."""
  torch.manual_seed(0)


@pytest.fixture(scope="module")
def problem():
  data = cases.images(cases.SMALL)
  rows = data["train"][0]
  x = data["image"][rows].reshape(len(rows), -1) / np.float32(255)
  lams = cases.search_lams()[:NETWORKS].copy()
  lams[:, 3:] = 0  # Masks differ; without dropout the steps are equal.
  return plain_torch.Problem(x, data["train_label"][0], lams, 3e-3, 1500, BATCH)


def ours(problem, params, rows, lam, steps):
  """Our objective and Adam on the same rows, without dropout."""
  plan = cases.search_plan()
  x = np.asarray(problem.x)[rows].reshape(1, -1, 8, 8, 1)
  y = jnp.asarray(np.asarray(problem.y)[rows])
  opt_state = plan.tx.init(params)
  zeros = jnp.zeros(2, jnp.uint32)
  for _ in range(steps):
    grads = jax.grad(
      lambda p: learner.objective(
        p,
        {},
        plan,
        jnp.asarray(x),
        y,
        lam[None, None],
        zeros,
        jnp.arange(BATCH),
      )[0]
    )(params)
    updates, opt_state = plan.tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
  return params


@pytest.mark.parametrize("together", [True, False])
def test_a_step_of_the_search_is_ours(problem, together):
  rows = np.arange(BATCH) * 7
  if together:
    theirs = plain_torch.Together(problem, WIDTHS, NETWORKS, compiled=False)
    before = [p.numpy().copy() for p in theirs.params]
    kernels, biases = before[::2], before[1::2]
  else:
    theirs = plain_torch.Loop(problem, WIDTHS, NETWORKS)
    kernels = [
      np.stack([net[i].weight.detach().numpy().T.copy() for net in theirs.nets])
      for i in range(3)
    ]
    biases = [
      np.stack([net[i].bias.detach().numpy().copy() for net in theirs.nets])
      for i in range(3)
    ]
  at = torch.from_numpy(np.tile(rows, (NETWORKS, 1)))
  for step in range(2):
    if together:
      theirs.take(at)
    else:
      for number in range(NETWORKS):
        theirs.take(number, at[number], problem.rate_at(step))
  for number in range(NETWORKS):
    params = {
      f"dense_{i}": {
        "kernel": jnp.asarray(kernels[i][number]),
        "bias": jnp.asarray(biases[i][number][None]),
      }
      for i in range(3)
    }
    lam = jnp.asarray(problem.lams[number].numpy())
    new = ours(problem, params, rows, jnp.maximum(lam, 1e-12), 2)
    for i in range(3):
      if together:
        got = theirs.params[2 * i][number].numpy()
      else:
        got = theirs.nets[number][i].weight.detach().numpy().T
      np.testing.assert_allclose(
        got, new[f"dense_{i}"]["kernel"], rtol=2e-4, atol=2e-5
      )


def test_both_searches_take_steps_with_dropout(problem):
  lams = cases.search_lams()[:NETWORKS]
  own = plain_torch.Problem(
    problem.x.numpy(), problem.y.numpy(), lams, 3e-3, 1500, BATCH
  )
  loop = plain_torch.Loop(own, WIDTHS, NETWORKS)
  loop.run(2)
  assert loop.step == 2
  together = plain_torch.Together(own, WIDTHS, NETWORKS, compiled=False)
  before = [p.clone() for p in together.params]
  together.run(2)
  for a, b in zip(before, together.params, strict=True):
    # Adam's two steps of at most the rate each.
    assert 0 < (a - b).abs().max() < 2.5 * 3e-3


def test_the_cosine_is_optaxs(problem):
  schedule = optax.cosine_decay_schedule(3e-3, 1500)
  for step in (0, 10, 750, 1500, 2000):
    assert problem.rate_at(step) == pytest.approx(
      float(schedule(step)), abs=1e-9
    )


@pytest.mark.parametrize("shape", ["dense", "conv"])
def test_a_layer_of_torch_uncertainty_is_ours(shape):
  pytest.importorskip("einops")
  try:
    layers = peers.batch_layers()
  except ImportError as error:
    pytest.skip(str(error))
  k, b = 3, 4
  rng = np.random.default_rng(0)
  if shape == "dense":
    theirs, layer = layers.BatchLinear(5, 7, k), DenseBatchEnsemble(7, k)
    x = rng.normal(size=(k, b, 5)).astype(np.float32)
    kernel = theirs.linear.weight.detach().numpy().T
    got = theirs(torch.from_numpy(x.reshape(k * b, 5)))
  else:
    theirs = layers.BatchConv2d(5, 7, 3, k, padding=1)
    layer = ConvBatchEnsemble(7, (3, 3), k, padding=1)
    x = rng.normal(size=(k, b, 6, 6, 5)).astype(np.float32)
    kernel = theirs.conv.weight.detach().numpy().transpose(2, 3, 1, 0)
    flat = torch.from_numpy(x.reshape(k * b, 6, 6, 5)).permute(0, 3, 1, 2)
    got = theirs(flat).permute(0, 2, 3, 1)
  vectors = {
    name: getattr(theirs, f"{name}_group").detach().numpy().reshape(k, -1)
    for name in ("r", "s")
  }
  bias = theirs.bias.detach().numpy().reshape(k, -1)
  variables = {"params": {"kernel": kernel, "bias": bias, **vectors}}
  y = layer.apply(variables, x)
  np.testing.assert_allclose(
    got.detach().numpy().reshape(y.shape), y, rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_their_network_has_our_parameters(model):
  pytest.importorskip("einops")
  try:
    net = peers.batch_network(model, cases.MEMBERS, cases.LARGE, 10)
  except ImportError as error:
    pytest.skip(str(error))
  theirs = sum(p.numel() for p in net.parameters())
  phase = cases.ensemble_case(model, "batch", 1)
  state = jax.eval_shape(phase.init, {}, np.uint32(0))
  assert theirs == sum(x.size for x in jax.tree.leaves(state.members.params))


def test_rows_count_the_examples_they_take():
  by_name = {case.name: case for case in cases.CASES}
  assert len(by_name) == len(cases.CASES) == 9
  search = by_name["search, 50 runs of an mlp 64-64-64-10"]
  assert search.make().batch_size == 50 * 64
  # 64 images: forward 8,832 products, backward twice less the first layer.
  assert search.flops() == 50 * 64 * 2 * (3 * 8832 - 4096)
  for model in ("mlp", "lenet"):
    one = by_name[f"{model}: one network"].flops()
    assert by_name[f"{model}: batch ensemble of 4"].flops() == 4 * one
    assert by_name[f"{model}: hyper-batch ensemble of 4"].flops() == 8 * one


@pytest.mark.parametrize("devices", [1, 4, 8])
def test_networks_are_divided_where_devices_divide_them(monkeypatch, devices):
  monkeypatch.setattr(jax, "device_count", lambda: devices)
  for case in cases.CASES[:4]:
    phase = case.make()
    state = jax.eval_shape(phase.init, {}, np.uint32(0))
    many = len(state.members.seed)
    assert bool(phase.split) == (many > 1 and many % devices == 0)
    assert phase.parts == (2 if phase.split else 1)
