"""Residual networks against loops in NumPy; their norms' L2 and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel
from kd_jax.methods.hyper_ensembles import inputs, learner
from kd_jax.methods.hyper_ensembles.networks import Given
from kd_jax.methods.hyper_ensembles.residual import ResNet

SHAPE = (4, 4, 3)
RNG = np.random.default_rng(0)


def signed(variables):
  """Norms that scale, shift and have seen something, each its own."""

  def changed(path, x):
    name = jax.tree_util.keystr(path)
    if "norm" not in name:
      return x
    low, high = (0.5, 1.5) if "scale" in name or "var" in name else (-0.7, 0.7)
    return RNG.uniform(low, high, x.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(changed, variables)


def convolved(x, kernel, stride):
  """Sums over windows, as many zeros on either side as the kernel's half."""
  n, h, w, _ = x.shape
  size = len(kernel)
  half = size // 2
  wide = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
  found = np.zeros((n, -(-h // stride), -(-w // stride), kernel.shape[-1]))
  for i in range(found.shape[1]):
    for j in range(found.shape[2]):
      y, z = stride * i, stride * j
      window = wide[:, y : y + size, z : z + size]
      found[:, i, j] = np.einsum("nhwc,hwcf->nf", window, kernel)
  return found


def plainly(variables, x, version):
  """One block a stage, by running statistics."""
  p, stats = variables["params"], variables["batch_stats"]

  def relu(x):
    return np.maximum(x, 0)

  def conv(x, name, stride=1):
    return convolved(x, np.asarray(p[name]["kernel"], float), stride)

  def norm(x, name):
    mean, var = stats[name]["mean"], stats[name]["var"]
    unit = (x - mean) / np.sqrt(np.asarray(var, float) + 1e-5)
    return unit * p[name]["scale"] + p[name]["bias"]

  x = conv(np.asarray(x, float), "conv_init")
  if version == 1:
    x = relu(norm(x, "norm_init"))
  for stage in range(3):
    stride, name = 2 if stage else 1, f"stage_{stage}_0"
    if version == 2:
      y = conv(relu(norm(x, f"{name}_norm_0")), f"{name}_conv_0", stride)
      y = conv(relu(norm(y, f"{name}_norm_1")), f"{name}_conv_1")
    else:
      y = relu(norm(conv(x, f"{name}_conv_0", stride), f"{name}_norm_0"))
      y = norm(conv(y, f"{name}_conv_1"), f"{name}_norm_1")
    if stage:
      x = conv(x, f"{name}_conv_proj", stride)
    x = x + y if version == 2 else relu(x + y)
  if version == 2:
    x = relu(norm(x, "norm_last"))
  return x.mean((1, 2)) @ p["dense"]["kernel"] + p["dense"]["bias"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_network_of_a_block_a_stage_is_the_plain_loop(version):
  net = ResNet(4, blocks=1, width=1, version=version)
  x = RNG.normal(size=(1, 3, *SHAPE)).astype(np.float32)
  made = jax.jit(lambda: net.init(jax.random.key(0), x, Given(), train=False))
  variables = signed(made())
  found = jax.jit(lambda v: net.apply(v, x, Given(), train=False))(variables)
  np.testing.assert_allclose(
    found[0], plainly(variables, x[0], version), rtol=1e-3, atol=1e-4
  )


def shallow(plan):
  """The plan, its network with one block a stage."""
  plan.__dict__["net"] = plan.net.clone(blocks=1)
  return plan


def test_norms_are_penalised_with_their_own_coefficient_over_n(plan_of):
  plan = shallow(plan_of(model="resnet20", tuned=("l2",), norm_l2=15.0))
  x = RNG.normal(size=(1, 4, *SHAPE)).astype(np.float32)
  y = jnp.arange(4)
  none = jnp.full((1, 1, 6), 1e-30)

  def start():
    variables = plan.net.init(jax.random.key(0), x, Given(), train=False)
    return variables["params"], {"batch_stats": variables["batch_stats"]}

  params, stats = jax.jit(start)()
  params = signed(params)
  value, (_, each) = jax.jit(
    lambda params: learner.objective(
      params, stats, plan, x, y, none, jnp.zeros(2, jnp.uint32), jnp.arange(4)
    )
  )(params)
  norms = [part for name, part in params.items() if "norm" in name]
  assert len(norms) == 7
  squares = sum(np.square(n[k]).sum() for n in norms for k in ("scale", "bias"))
  expect = 15 * squares / 40
  assert float(value) - float(each.mean()) == pytest.approx(expect, rel=1e-4)


def test_devices_that_share_a_batch_share_its_statistics(plan_of):
  fields = {"model": "resnet20", "tuned": ("l2",)}
  whole, shared = (shallow(plan_of(split=s, **fields)) for s in (True, False))
  x = RNG.normal(size=(8, *SHAPE)).astype(np.float32)
  y, lam = np.arange(8, dtype=np.int32), np.ones((1, 1, 6), np.float32)
  variables = jax.jit(
    lambda: whole.net.init(jax.random.key(0), x[None], Given(), train=False)
  )()
  found = []
  for plan, devices in ((whole, 1), (shared, 4)):

    def step(variables, data, *, axis_name=None, plan=plan):
      rows = inputs.slots(8, axis_name)
      params = variables["params"]
      stats = {"batch_stats": variables["batch_stats"]}
      _, (stats, each) = learner.objective(
        *(params, stats, plan, data["x"][rows][None], data["y"][rows]),
        *(data["lam"], jnp.zeros(2, jnp.uint32), rows),
      )
      loss = accel.mean(each.mean(), axis_name)
      return {"params": params, **stats}, loss

    how = jax.devices()[:devices]
    run = accel.data_parallel(step, data="replicated", devices=how)
    data = accel.place({"x": x, "y": y, "lam": lam}, how)
    new, loss = jax.device_get(run(accel.place(variables, how), data))
    found.append((new["batch_stats"], loss))
  one, four = map(jax.tree.leaves, found)
  for a, b in zip(one, four, strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)
