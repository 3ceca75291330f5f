"""The networks' sizes, counted without making them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.compression import hosts, meter
from kd_jax.methods.compression.model import Model

# Parameters: the papers' networks; MACs by hand for the small ones.
COUNTS = {
  "lenet_300_100": (266_610, 10, (28, 28, 1), 266_200),
  "lenet5": (431_080, 10, (28, 28, 1), 2_293_000),
  "alexnet": (60_965_224, 1000, (227, 227, 3), 724_406_816),
  "vgg16_224": (138_357_544, 1000, (224, 224, 3), 15_470_264_320),
  "resnet20": (269_722, 10, (32, 32, 3), 40_551_040),
  "resnet56": (853_018, 10, (32, 32, 3), 125_485_696),
  "resnet110": (1_727_962, 10, (32, 32, 3), None),
  "squeezenet": (1_248_424, 1000, (224, 224, 3), None),
  # The distillation benchmark's, at CIFAR-100.
  "resnet20_projected": (278_324, 100, (32, 32, 3), None),
  "resnet56_projected": (861_620, 100, (32, 32, 3), None),
  "resnet8x4": (1_233_540, 100, (32, 32, 3), None),
  "resnet32x4": (7_433_860, 100, (32, 32, 3), None),
  "mobilenet_v2_half": (812_836, 100, (32, 32, 3), None),
  "wrn_16_2": (703_284, 100, (32, 32, 3), None),
  "wrn_40_2": (2_255_156, 100, (32, 32, 3), None),
  "vgg8": (3_965_028, 100, (32, 32, 3), None),
  "vgg13": (9_462_180, 100, (32, 32, 3), None),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_multiply_adds(name):
  count, classes, image, macs = COUNTS[name]
  model = Model(hosts.create(name, classes), image)
  shapes = model.shapes()
  assert sum(w.size for w in jax.tree.leaves(shapes["params"])) == count
  if macs is not None:
    assert meter.multiply_adds(model, shapes) == macs


def test_local_response_is_the_formula():
  x = np.random.default_rng(0).normal(size=(1, 2, 2, 7)).astype(np.float32)
  want = np.zeros_like(x)
  for c in range(7):
    near = x[..., max(0, c - 2) : c + 3]
    want[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
  np.testing.assert_allclose(hosts.local_response(jnp.asarray(x)), want,
                             rtol=1e-6)  # fmt: skip


def test_kernels_in_the_order_of_their_calls():
  model = Model(hosts.create("lenet5", 10), (28, 28, 1))
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  assert model.order(shapes) == (
    "conv_0/kernel", "conv_1/kernel", "fc_0/kernel", "head/kernel"
  )  # fmt: skip
