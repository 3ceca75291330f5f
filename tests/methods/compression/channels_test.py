"""Channels that live and die together, and networks that were really cut."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import backbones
from kd_jax.errors import UsageError
from kd_jax.methods.compression import (
  channels,
  dependencies,
  hosts,
  residual,
  trees,
)
from kd_jax.methods.compression.model import Model

KEY = jax.random.key(0)


def filled(model, seed=0):
  """Variables in which every number matters: none is 0 or 1."""
  rng = np.random.default_rng(seed)
  made = trees.flatten(jax.device_get(model.init(KEY)))
  for path, w in made.items():
    moved = np.float32(w + 0.3 * rng.normal(size=w.shape))
    made[path] = np.abs(moved) + 0.1 if path.endswith("/var") else moved
  return trees.unflatten(made)


class Odd(nn.Module):
  """A user's network: flax's layers, a dense block, depthwise, a flatten."""

  @nn.compact
  def __call__(self, x):
    y = nn.Conv(6, (3, 3), name="a")(x)
    y = nn.gelu(nn.BatchNorm(True, name="norm")(y))
    y = jnp.concatenate([x, y], -1)
    y = nn.Conv(8, (1, 1), name="b")(y)
    y = nn.Conv(8, (3, 3), feature_group_count=8, name="depthwise")(y)
    z = nn.Conv(8, (3, 3), name="c")(nn.sigmoid(y))
    y = nn.tanh(y + z)
    y = nn.avg_pool(y, (2, 2), (2, 2)).reshape(x.shape[0], -1)
    y = nn.relu(nn.Dense(10, name="d")(y))
    y = nn.LayerNorm(name="layer_norm")(y)
    return nn.Dense(3, name="head")(y)


ODD = Model(Odd(), (4, 4, 2))
NETS = {
  "mlp": Model(hosts.MLP(3, (6, 4)), (3, 3, 1)),
  "lenet5": Model(hosts.LeNet5(3, (4, 5, 6)), (16, 16, 1)),
  "cnn": Model(backbones.SmallCNN(3, (4, 6, 5)), (8, 8, 1)),
  "resnet": Model(backbones.create("resnet_tiny", 3), (8, 8, 3)),
  "odd": ODD,
}


def members(found, groups=None):
  named = []
  for group in found.groups if groups is None else groups:
    named.append({p.removeprefix("params/") for p, _ in group})
  return named


def test_groups_of_a_users_network():
  shapes = jax.eval_shape(ODD.init, KEY)
  found = members(ODD.channels(shapes))
  # The norm's channels, and their place behind the concatenated input.
  assert {
    "a/kernel", "a/bias", "norm/scale", "norm/bias", "b/kernel",
    "batch_stats/norm/mean", "batch_stats/norm/var",
  } in found  # fmt: skip
  # The sum ties three convolutions and the flattened rows.
  assert {
    "b/kernel", "b/bias", "depthwise/kernel", "depthwise/bias", "c/kernel",
    "c/bias", "d/kernel",
  } in found  # fmt: skip
  # A layer norm means over its channels: they stay. So do logits.
  assert not any("layer_norm/scale" in g or "head/bias" in g for g in found)


def test_the_rows_behind_a_flattened_map():
  model = NETS["lenet5"]
  shapes = jax.eval_shape(model.init, KEY)
  found = model.channels(shapes)
  group = next(g for g in found.groups if ("params/fc_0/kernel", 0) in g)
  rows = group["params/fc_0/kernel", 0]
  maps = group["params/conv_1/kernel", 3]
  np.testing.assert_array_equal(rows, np.tile(maps, len(rows) // 5))


@pytest.mark.parametrize("name", NETS)
def test_the_cut_network_is_the_masked_one(name):
  model = NETS[name]
  variables = filled(model)
  small, report = channels.filters(model, 0.5).rebuild(variables)
  assert report["gap"] <= 1e-5
  sizes = [sum(w.size for w in jax.tree.leaves(v)) for v in (variables, small)]
  assert sizes[1] < sizes[0]
  # Said again here: the zeroed network's logits, and that they are others'.
  read = model.channels(variables)
  gone = [c for g in channels._groups(read, False)
          for c in dependencies.classes(g)[:1]]  # fmt: skip
  masked = dependencies.zero(variables, read, gone)
  cut = dependencies.cut(variables, read, gone)
  x = jax.random.normal(KEY, (5, *model.image))
  logits = jax.jit(model.logits)
  a, b, c = (logits(v, x) for v in (masked, cut, variables))
  np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
  assert np.abs(a - c).max() > 1e-3


def test_masking_a_kernel_alone_leaks_through_the_norm():
  """The classic fault: a norm hands on beta for a channel that is dead."""
  model = NETS["cnn"]
  variables = filled(model)
  read = model.channels(variables)
  group = next(g for g in read.groups if ("params/conv_1/kernel", 3) in g)
  gone = dependencies.classes(group)[:2]
  variables["params"]["norm_1"]["bias"][:2] = 2.0
  kernel_only = jax.tree.map(np.array, variables)
  kernel_only["params"]["conv_1"]["kernel"][..., :2] = 0
  cut = dependencies.cut(variables, read, gone)
  assert channels.difference(model, kernel_only, cut) > 1e-3
  # With the leak put into what follows (here: taken out of the norm) it is 0.
  scale, bias = (kernel_only["params"]["norm_1"][k] for k in ("scale", "bias"))
  scale[:2], bias[:2] = 0, 0
  assert channels.difference(model, kernel_only, cut) < 1e-5


def test_filters_of_the_smallest_norm_go():
  model = NETS["cnn"]
  variables = filled(model)
  small, _ = channels.filters(model, 0.5).rebuild(variables)
  w = variables["params"]["conv_1"]["kernel"]
  keep = np.sort(np.argsort(-np.abs(w).sum((0, 1, 2)))[:3])
  first = variables["params"]["conv_0"]["kernel"]
  inputs = np.sort(np.argsort(-np.abs(first).sum((0, 1, 2)))[:2])
  want = w[:, :, inputs][..., keep]
  np.testing.assert_array_equal(small["params"]["conv_1"]["kernel"], want)
  mean = variables["batch_stats"]["norm_1"]["mean"][keep]
  np.testing.assert_array_equal(small["batch_stats"]["norm_1"]["mean"], mean)


def test_greedy_scores_leave_out_inputs_that_are_gone():
  model = NETS["mlp"]
  variables = filled(model)
  w0, w1 = (variables["params"][f"fc_{i}"]["kernel"] for i in (0, 1))
  w0[:, 0] = 0  # The first unit goes; to it alone the last unit owes its norm.
  w1[:] = 1.0
  w1[0], w1[0, 3], w1[1:, 3] = 0, 100, 0.1
  kept = {}
  for greedy in (False, True):
    scheme = channels.filters(model, 0.25, greedy=greedy)
    kept[greedy] = scheme.rebuild(variables)[0]["params"]["fc_1"]["kernel"]
  assert (kept[False] == np.float32(0.1)).any()
  assert not (kept[True] == np.float32(0.1)).any()


def test_channels_stay_in_multiples():
  model = Model(hosts.MLP(3, (20, 10)), (3, 3, 1))
  small, _ = channels.filters(model, 0.55, round_to=8).rebuild(filled(model))
  shapes = [small["params"][f"fc_{i}"]["kernel"].shape[1] for i in (0, 1)]
  assert shapes == [16, 8]


def test_half_of_the_channels_is_three_quarters_of_the_weights():
  model = Model(hosts.MLP(3, (40, 40, 40)), (2, 2, 1))
  small, _ = channels.filters(model, 0.5).rebuild(filled(model))
  assert small["params"]["fc_1"]["kernel"].shape == (20, 20)


def test_channels_that_a_sum_ties_share_one_set():
  """Options A's shortcuts: zeros stand beside what goes on."""
  model = Model(residual.CifarResNet(3, 8), (8, 8, 3))
  variables = filled(model)
  whole, _ = channels.filters(model, 0.5).rebuild(variables)
  assert whole["params"]["conv"]["kernel"].shape[-1] == 16
  tied, report = channels.filters(model, 0.5, tied=True).rebuild(variables)
  assert report["gap"] <= 1e-5
  assert tied["params"]["conv"]["kernel"].shape[-1] == 8
  ends = [tied["params"][f"block_{i}_0_conv_1"]["kernel"].shape[-1]
          for i in range(3)]  # fmt: skip
  # Of 32 and 64 the zeros' places (16 each side) stay.
  assert ends[0] == 8
  assert ends[1] < 32


def test_slimming_takes_one_threshold_and_empties_no_layer():
  model = NETS["cnn"]
  variables = filled(model)
  scales = {i: variables["params"][f"norm_{i}"]["scale"] for i in range(3)}
  scales[0][:] = np.arange(4) / 100 + 0.01  # All of them below the others.
  scales[1][:] = [1, 0.2, 3, 4, 5, 6]
  scales[2][:] = [1, 2, 3, 4, 5]
  small, report = channels.slimming(model, 0.4).rebuild(variables)
  assert report["gap"] <= 1e-5
  left = {i: small["params"][f"norm_{i}"]["scale"] for i in range(3)}
  # Six of fifteen: the four, 0.2 and 1 (a tie with the other 1).
  np.testing.assert_array_equal(left[0], np.float32([0.04]))
  assert 0.2 not in left[1]
  assert min(left[1].min(), left[2].min()) >= 1
  wide, _ = channels.slimming(model, 0.4, least=3).rebuild(variables)
  assert wide["params"]["norm_0"]["scale"].shape == (3,)


def test_slimmings_penalty_is_the_sign_of_the_scales():
  model = NETS["cnn"]
  params = filled(model)["params"]
  params["norm_1"]["scale"][:] = [-2, 3, 0, 1, 1, -1]
  zero = jax.tree.map(np.zeros_like, params)
  scheme = channels.slimming(model, 0.5, penalty=0.25)
  got = scheme.regularise(zero, params, {})
  want = 0.25 * np.sign(params["norm_1"]["scale"])
  np.testing.assert_allclose(got["norm_1"]["scale"], want)
  others = [p for p in trees.flatten(got) if not p.endswith("scale")]
  assert not any(np.any(trees.get(got, p)) for p in others)


def test_what_cannot_be_cut_is_refused_in_a_line():
  model = NETS["mlp"]
  with pytest.raises(UsageError, match="needs batch normalisation"):
    channels.slimming(model, 0.5).rebuild(filled(model))
  linear = Model(nn.Dense(3), (4,))
  with pytest.raises(UsageError, match="no channel"):
    channels.filters(linear, 0.5).rebuild(jax.device_get(linear.init(KEY)))
  with pytest.raises(UsageError, match="below 1"):
    channels.filters(model, 1.0)


class Names(nn.Module):
  """Its Python knows its width."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Dense(6, name="a")(x))
    return nn.Dense(3, name="head")(x.reshape(-1, 2, 3).reshape(-1, 6))


def test_a_module_that_names_its_width_is_left_whole_or_refused():
  model = Model(Names(), (4,))
  with pytest.raises(UsageError, match=r"no channel|does not run"):
    channels.filters(model, 0.5).rebuild(filled(model))
