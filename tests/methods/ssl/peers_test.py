"""The peers compute what they are timed for, and the cases what they say."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import fields
from kd_jax.methods.ssl import cases, evaluation, heads, model, recipes
from kd_jax.methods.ssl.learners import LEARNERS

torch = pytest.importorskip("torch")
plain_torch = pytest.importorskip("kd_jax.methods.ssl.plain_torch")

SMALL = fields.override(
  cases.SMALL,
  {
    "net.widths": (4, 6),
    "net.strides": (2, 2),
    "batch_size": 16,
    "data.view_size": 8,
  },
)
SHAPE = (10, 10, 1)


@pytest.mark.parametrize("arm", plain_torch.ARMS)
def test_losses_and_gradients_are_ours(arm):
  settings, learner = recipes.settings(SMALL, arm), LEARNERS[arm]
  module = model.network(SMALL, settings, learner, 3)
  rng = np.random.default_rng(0)
  views = jnp.asarray(rng.normal(size=(2, 6, 8, 8, 1)), jnp.float32)
  variables = module.init(jax.random.key(0), views[0], train=False)
  stats = variables["batch_stats"]

  def ours(params):
    look = {"params": params, "batch_stats": stats}
    seen, _ = model.look(module, look, [views], joint=settings.joint_statistics)
    out = cases.Outputs(seen, seen, None, {}, jnp.float32(0), {}, None, None)
    found = learner.terms(out, settings)
    weights = learner.weights(settings)
    return sum(jnp.mean(v) * weights[k] for k, v in found.items())

  expected, grads = jax.jit(jax.value_and_grad(ours))(variables["params"])
  network = plain_torch.Network(SMALL, settings, 1, 3).train()
  plain_torch.load(network, variables)
  slow = plain_torch.copy.deepcopy(network)
  first = [
    torch.from_numpy(np.array(v).transpose(0, 3, 1, 2).copy()) for v in views
  ]
  got, _ = plain_torch.loss(arm, settings, network, slow, first)
  np.testing.assert_allclose(got.item(), expected, rtol=1e-4)
  got.backward()
  theirs = network.backbone.conv_0.weight.grad.numpy().transpose(2, 3, 1, 0)
  kernel = grads["backbone"]["conv_0"]["kernel"]
  np.testing.assert_allclose(theirs, kernel, rtol=1e-2, atol=1e-4)


def test_views_are_of_the_same_size_and_range():
  images = torch.randint(0, 256, (5, 1, 10, 10)).byte()
  got = plain_torch.view(SMALL, images, (0.3, 1.0), 0.4)
  assert got.shape == (5, 1, 8, 8)
  data = SMALL.data
  low, high = -data.mean[0] / data.std[0], (1 - data.mean[0]) / data.std[0]
  assert got.min() >= low - 1e-5
  assert got.max() <= high + 1e-5


@pytest.mark.parametrize("arm", plain_torch.ARMS)
def test_the_peers_run(arm):
  settings = recipes.settings(SMALL, arm)
  plain_torch.training(SMALL, settings, arm, SHAPE, 3, 20)(1)


def test_the_parts_of_a_step_run():
  for make in (
    cases.views_case,
    lambda *args: cases.heads_case(*args, loss=True),
    lambda *args: cases.heads_case(*args, loss=False),
  ):
    phase = make(SMALL, "byol", SHAPE)
    state = jax.eval_shape(phase.init, {}, np.uint32(0))
    new, found = jax.eval_shape(phase.step, state, phase.data)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert found


def _products(text, r):
  """Multiply-adds of a head."""
  layers = [r, *(w or r for w, _ in heads.parse(text))]
  return sum(a * b for a, b in itertools.pairwise(layers))


def test_operations_of_a_step():
  """Three times a forward pass for each view, and the slow network's."""
  config = fields.override(SMALL, {"net.widths": (16, 32)})
  encoder = 8 * 8 / 4 * 9 * 16 + 8 * 8 / 16 * 9 * 16 * 32
  for arm, slow in (("simclr", 0), ("byol", 2)):
    s = recipes.settings(config, arm)
    projector = _products(s.projector, 32)
    predictor = _products(s.predictor, heads.width(s.projector, 32))
    forward = encoder + projector
    expected = 2 * 16 * (6 * (forward + predictor) + slow * forward)
    got = cases.step_flops(config, arm, SHAPE)
    assert 0.75 < got / expected < 1.25, arm
  assert evaluation.penalties(2)
