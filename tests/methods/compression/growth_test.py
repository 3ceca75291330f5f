import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import backbones
from kd_jax.errors import UsageError
from kd_jax.methods.compression import channels, growth, hosts
from kd_jax.methods.compression.model import Model

KEY = jax.random.key(1)
NETS = {
  "fc_0": Model(hosts.MLP(3, (6, 4)), (3, 3, 1)),
  "conv_1": Model(hosts.LeNet5(3, (4, 5, 6)), (16, 16, 1)),
  "conv_0": Model(backbones.SmallCNN(3, (4, 6, 5)), (8, 8, 1)),
  "stage_0_block_0/conv_0": Model(
    backbones.create("resnet_tiny", 3), (8, 8, 3)
  ),
}


def filled(model):
  rng = np.random.default_rng(0)
  made = jax.device_get(model.init(KEY))
  return jax.tree.map(
    lambda w: (w + 0.5 * rng.random(w.shape)).astype(np.float32), made
  )


@pytest.mark.parametrize("layer", NETS)
def test_a_wider_network_answers_alike(layer):
  model = NETS[layer]
  variables = filled(model)
  path = f"params/{layer}/kernel"
  wide = growth.wider(
    variables, model.channels(variables), path, 9, jax.random.key(0)
  )
  kernel = wide["params"]
  for part in layer.split("/"):
    kernel = kernel[part]
  assert kernel["kernel"].shape[-1] == 9
  assert channels.difference(model, variables, wide) < 1e-5


def test_noise_moves_the_copies_alone():
  model = NETS["fc_0"]
  variables = filled(model)
  read = model.channels(variables)
  args = (variables, read, "params/fc_0/kernel", 9, jax.random.key(0))
  calm, noisy = growth.wider(*args), growth.wider(*args, noise=0.01)
  a, b = (v["params"]["fc_0"]["kernel"] for v in (calm, noisy))
  np.testing.assert_array_equal(a[:, :6], b[:, :6])
  assert (a[:, 6:] != b[:, 6:]).all()
  assert channels.difference(model, calm, noisy) < 0.1


def test_the_map_and_its_counts():
  g, factor = growth.replication(KEY, 3, 7)
  np.testing.assert_array_equal(g[:3], np.arange(3))
  for j in range(7):
    assert factor[j] == 1 / (g == g[j]).sum()
  with pytest.raises(UsageError, match="cannot grow"):
    growth.replication(KEY, 3, 2)


def test_logits_cannot_grow():
  model = NETS["fc_0"]
  variables = filled(model)
  with pytest.raises(UsageError, match="cannot change"):
    growth.wider(
      variables, model.channels(variables), "params/head/kernel", 9, KEY
    )


def test_identity_layers():
  x = nn.relu(jax.random.normal(KEY, (4, 5, 6, 3)))
  y = nn.relu(x @ growth.identity_dense(3))
  np.testing.assert_array_equal(y, x)
  conv = backbones.Conv(3, (3, 3), use_bias=False)
  params = {"params": {"kernel": growth.identity_conv(3, 3)}}
  y = conv.apply(params, x)
  np.testing.assert_allclose(nn.relu(y), x, atol=1e-6)
  made = growth.identity_norm(y.mean((0, 1, 2)), y.var((0, 1, 2)))
  norm = backbones.BatchNorm(True)
  np.testing.assert_allclose(norm.apply(made, y), x, atol=1e-5)
  # Also by the batch's own statistics, which these are.
  out, _ = backbones.BatchNorm(False).apply(made, y, mutable=["batch_stats"])
  np.testing.assert_allclose(out, x, atol=1e-4)
  with pytest.raises(UsageError, match="no middle"):
    growth.identity_conv(2, 3)
  assert jnp.count_nonzero(growth.identity_conv(5, 2)) == 2
