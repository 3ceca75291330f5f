"""The plain network beside ours computes the same."""

import jax
import numpy as np
import pytest

from kd_jax.backbones.resnet import ResNet

torch = pytest.importorskip("torch")

from kd_jax.networks import plain_torch  # noqa: E402

NAMES = [
  "conv_init norm_init",
  "stage_0_block_0/conv_0 stage_0_block_0/norm_0",
  "stage_0_block_0/conv_1 stage_0_block_0/norm_1",
  "stage_1_block_0/conv_0 stage_1_block_0/norm_0",
  "stage_1_block_0/conv_1 stage_1_block_0/norm_1",
  "stage_1_block_0/conv_proj stage_1_block_0/norm_proj head",
]


def flat(params):
  """Our parameters in PyTorch's order and layouts."""
  for name in " ".join(NAMES).split():
    here = params
    for part in name.split("/"):
      here = here[part]
    if "scale" in here:
      yield from (here["scale"], here["bias"])
    elif here["kernel"].ndim == 4:
      yield here["kernel"].transpose(3, 2, 0, 1)
    else:
      yield from (here["kernel"].T, here["bias"])


def test_the_network_and_its_gradients_are_ours():
  network = ResNet(num_classes=3, blocks=(1, 1))
  x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
  variables = network.init(jax.random.key(0), x, train=False)

  def loss(params):
    found, _ = network.apply(
      {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
    )
    return (found.logits**2).sum()

  value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
  peer = plain_torch._resnet((1, 1), False, False, 3).train()
  weights = list(flat(variables["params"]))
  with torch.no_grad():
    for theirs, ours in zip(peer.parameters(), weights, strict=True):
      theirs.copy_(torch.as_tensor(np.array(ours)))
  found = (peer(torch.as_tensor(np.array(x.transpose(0, 3, 1, 2)))) ** 2).sum()
  found.backward()
  np.testing.assert_allclose(float(found.detach()), value, rtol=1e-5)
  for theirs, ours in zip(peer.parameters(), flat(grads), strict=True):
    scale = np.abs(ours).max()
    np.testing.assert_allclose(theirs.grad.numpy(), ours, atol=1e-4 * scale)
