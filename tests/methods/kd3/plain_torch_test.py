"""The benchmark's peer does the same work."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.backbones.resnet import ResNet
from kd_jax.methods.kd3 import cases

torch = pytest.importorskip("torch")

from kd_jax.methods.kd3 import plain_torch  # noqa: E402

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
  network = ResNet(num_classes=3, blocks=(1, 1), width=4)
  x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
  variables = network.init(jax.random.key(0), x, train=False)

  def loss(params):
    found, _ = network.apply(
      {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
    )
    return (found.logits**2).sum()

  value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
  peer = plain_torch.network_of((1, 1), 3, 3, width=4).train()
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


def test_a_step_moves_the_peer(monkeypatch):
  config = dataclasses.replace(cases.CLASSIFY, batch_size=2)
  columns = cases._labelled((8, 8, 3))
  seen = []
  step = torch.optim.SGD.step
  monkeypatch.setattr(
    torch.optim.SGD,
    "step",
    lambda self: (seen.append(self), step(self))[1],
  )
  run = plain_torch.training(config, columns, (1, 1))
  run(2)
  assert len(seen) == 2
  (group,) = seen[0].param_groups
  assert (group["momentum"], group["weight_decay"]) == (0.9, 5e-4)


def test_the_case_classifies_in_batches_of_64():
  case = cases.CASES[0]
  phase = case.make()
  state = jax.eval_shape(phase.init, {}, jnp.uint32(0))
  after, metrics = jax.eval_shape(phase.step, state, phase.data)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert "cross_entropy" in metrics
  assert phase.batch_size == 64
  # The 3x3 and 1x1 convolutions of 32x32, 16x16, 8x8, 4x4, and the head.
  each = 9 * 64 * 64 * 32 * 32
  forward = 9 * 3 * 64 * 1024 + 4 * each + 3 * (3 * each + each // 2)
  forward += 3 * (64 * 128 * 256) + 512 * 10
  assert case.flops() == 64 * 3 * 2 * forward
