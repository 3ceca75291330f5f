import functools
import math
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel
from kd_jax.backbones import NAMES, VGG, SmallCNN, WideResNet, create


def shapes(model, image=(32, 32, 3)):
  x = jnp.zeros((1, *image))
  init = functools.partial(model.init, train=False)
  return jax.eval_shape(init, jax.random.key(0), x)


@pytest.mark.parametrize(
  ("name", "classes", "parameters"),
  [
    ("resnet18", 10, 11_173_962),
    ("resnet18", 100, 11_220_132),
    ("resnet34", 10, 21_282_122),
    ("resnet34", 100, 21_328_292),
    # The published 0.6, 2.2 and 36.5 million are those of 10 classes.
    ("wrn_16_1", 10, 175_066),
    ("wrn_16_2", 10, 691_674),
    ("wrn_28_2", 10, 1_467_610),
    ("wrn_28_10", 10, 36_479_194),
    ("wrn_40_1", 10, 563_930),
    ("wrn_40_2", 10, 2_243_546),
    ("wrn_40_2", 100, 2_255_156),
    ("vgg8", 100, 3_965_028),
    ("vgg11", 100, 9_277_284),
    ("vgg13", 100, 9_462_180),
    ("vgg16", 100, 14_774_436),
    ("vgg19", 100, 20_086_692),
    ("resnet50", 1000, 25_557_032),
  ],
)
def test_published_parameter_counts(name, classes, parameters):
  params = shapes(create(name, classes))["params"]
  assert sum(math.prod(p.shape) for p in jax.tree.leaves(params)) == parameters


@pytest.mark.parametrize(
  ("name", "size", "last", "channels"),
  [
    ("resnet18_half", 32, 4, 256),
    ("resnet18_half", 64, 8, 256),
    ("wrn_16_2", 32, 8, 128),
    ("wrn_16_2", 64, 16, 128),
    ("vgg8", 32, 4, 512),
    ("vgg8", 64, 4, 512),
  ],
)
def test_both_image_sizes(name, size, last, channels):
  model = create(name, 10)
  variables = shapes(model, (size, size, 3))
  apply = functools.partial(model.apply, train=False)
  out = jax.eval_shape(apply, variables, jnp.zeros((2, size, size, 3)))
  assert out.feature_map.shape == (2, last, last, channels)
  assert out.pooled.shape == (2, channels)
  assert out.logits.shape == (2, 10)


def conv(x, kernel, stride):
  k, pad = kernel.shape[0], kernel.shape[0] // 2
  x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))
  return np.einsum("bhwcij,ijcf->bhwf", windows[:, ::stride, ::stride], kernel)


def norm(x):
  return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


def relu(x):
  return np.maximum(x, 0)


def classify(x, head):
  return x.mean((1, 2)) @ head["kernel"] + head["bias"]


def initial(model, x):
  init = jax.jit(functools.partial(model.init, train=False))
  variables = init(jax.random.key(0), x)
  return variables, jax.tree.map(np.asarray, variables["params"])


def trained(model):
  return jax.jit(
    functools.partial(model.apply, train=True, mutable=["batch_stats"])
  )


@pytest.mark.parametrize("linear", [False, True])
def test_resnet_is_the_plain_network(linear):
  x = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
  model = create("resnet_tiny", 5, linear_stem=linear)
  variables, p = initial(model, x)
  out, _ = trained(model)(variables, x)
  y = norm(conv(np.asarray(x), p["conv_init"]["kernel"], 1))
  y = y if linear else relu(y)
  for name, stride in (("stage_0_block_0", 1), ("stage_1_block_0", 2)):
    b = {k: v["kernel"] for k, v in p[name].items() if k.startswith("conv")}
    z = relu(norm(conv(y, b["conv_0"], stride)))
    z = norm(conv(z, b["conv_1"], 1))
    short = norm(conv(y, b["conv_proj"], stride)) if "conv_proj" in b else y
    y = relu(short + z)
  np.testing.assert_allclose(out.feature_map, y, atol=1e-4)
  np.testing.assert_allclose(out.pooled, y.mean((1, 2)), atol=1e-4)
  np.testing.assert_allclose(out.logits, classify(y, p["head"]), atol=1e-4)


def test_wide_resnet_is_the_plain_network():
  x = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
  model = WideResNet(5, depth=10, widen=1)
  variables, p = initial(model, x)
  out, _ = trained(model)(variables, x)
  y = conv(np.asarray(x), p["conv_init"]["kernel"], 1)
  for i, stride in enumerate((1, 2, 2)):
    block = p[f"group_{i}_block_0"]
    b = {k: v["kernel"] for k, v in block.items() if k.startswith("conv")}
    z = relu(norm(y))
    assert ("conv_proj" in b) == (i > 0)
    short = conv(z, b["conv_proj"], stride) if i else y
    y = short + conv(relu(norm(conv(z, b["conv_0"], stride))), b["conv_1"], 1)
  y = relu(norm(y))
  np.testing.assert_allclose(out.feature_map, y, atol=1e-4)
  np.testing.assert_allclose(out.logits, classify(y, p["head"]), atol=1e-4)
  with pytest.raises(ValueError, match="depth is 12"):
    WideResNet(5, depth=12).init(jax.random.key(0), x, train=False)


@pytest.mark.parametrize("size", [16, 64])
def test_vgg_is_the_plain_network(size):
  x = jax.random.normal(jax.random.key(1), (2, size, size, 3))
  model = VGG(4, blocks=((3,), (4, 5), (6,)))
  variables, p = initial(model, x)
  out, _ = trained(model)(variables, x)
  y = np.asarray(x)
  for i, count in enumerate((1, 2, 1)):
    for j in range(count):
      layer = p[f"block_{i}_conv_{j}"]
      y = relu(norm(conv(y, layer["kernel"], 1) + layer["bias"]))
    if i < (2 if size == 64 else 1):
      y = y.reshape(2, len(y[0]) // 2, 2, len(y[0]) // 2, 2, -1).max((2, 4))
  np.testing.assert_allclose(out.feature_map, y, atol=1e-4)
  np.testing.assert_allclose(out.logits, classify(y, p["head"]), atol=1e-4)


@pytest.mark.parametrize(("name", "layer"), [("vgg13", "block_4_conv_1")])
def test_initial_values_are_the_papers_own(name, layer):
  model = create(name, 100)
  init = jax.jit(functools.partial(model.init, train=False))
  p = init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
  kernel = np.asarray(p[layer]["kernel"])
  assert kernel.std() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
  assert np.asarray(p["head"]["kernel"]).std() == pytest.approx(0.01, rel=0.02)
  assert not np.any(p[layer]["bias"])


def test_small_cnn_is_the_plain_network():
  x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
  model = SmallCNN(4, widths=(3, 5))
  with pytest.raises(ValueError, match="2 widths and 3 strides"):
    model.init(jax.random.key(0), x, train=False)
  model = SmallCNN(4, widths=(3, 5), strides=(2, 1))
  variables, p = initial(model, x)
  y = np.asarray(x)
  out, _ = trained(model)(variables, x)
  for i, stride in enumerate((2, 1)):
    y = relu(norm(conv(y, p[f"conv_{i}"]["kernel"], stride)))
  np.testing.assert_allclose(out.feature_map, y, atol=1e-4)
  np.testing.assert_allclose(out.logits, classify(y, p["head"]), atol=1e-4)


def test_evaluation_knows_no_neighbours():
  model = SmallCNN(4, widths=(3,), strides=(1,))
  x = jax.random.normal(jax.random.key(1), (4, 5, 5, 1))
  variables, _ = initial(model, x)
  whole = model.apply(variables, x, train=False).logits
  alone = model.apply(variables, x[:1], train=False).logits
  np.testing.assert_allclose(whole[:1], alone, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet_tiny", "small_cnn"])
def test_padded_rows_leave_no_trace(name):
  model = create(name, 3)
  x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
  where = jnp.array([True, False, True, True])
  variables, _ = initial(model, x)
  apply = trained(model)
  out, updated = apply(variables, x.at[1].set(100.0), where=where)
  kept, expected = apply(variables, x[where])
  np.testing.assert_allclose(out.logits[where], kept.logits, atol=1e-4)
  for a, b in zip(*map(jax.tree.leaves, (updated, expected)), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet_tiny", "small_cnn"])
def test_dtype_reaches_every_layer(name):
  model = create(name, 3, dtype=jnp.bfloat16)
  x = jnp.ones((2, 8, 8, 3))
  variables = shapes(model, (8, 8, 3))
  for leaf in jax.tree.leaves(variables):
    assert leaf.dtype == jnp.float32

  def forward(variables, x):
    return model.apply(variables, x, train=True, mutable=["batch_stats"])

  # As accelerators get it: the CPU's own statements compute in float32.
  lowered = jax.export.export(jax.jit(forward), platforms=["tpu"])
  seen = [
    re.findall(r"x(bf16|f32)>", line.rpartition(" : ")[2])
    for line in lowered(variables, x).mlir_module().splitlines()
    if "stablehlo.convolution" in line or "stablehlo.dot_general" in line
  ]
  assert len(seen) >= 4
  assert {kind for kinds in seen for kind in kinds} == {"bf16"}
  out, updated = jax.eval_shape(forward, variables, x)
  assert out.feature_map.dtype == jnp.bfloat16
  assert out.pooled.dtype == out.logits.dtype == jnp.float32
  assert {s.dtype for s in jax.tree.leaves(updated)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("mode", ["jit", "pmap", "shard_map"])
def test_one_device_equals_four(mode):
  model = SmallCNN(3, widths=(4, 4), strides=(2, 1))
  x = jax.random.normal(jax.random.key(1), (8, 6, 6, 1))
  # The last device has nothing but padding.
  where = jnp.arange(8) < 6
  variables, _ = initial(model, x)

  def step(variables, data, *, axis_name=None):
    x, where = data
    net = model.clone(axis_name=axis_name)

    def loss(params):
      out, updated = net.apply(
        {**variables, "params": params},
        x,
        train=True,
        where=where,
        mutable=["batch_stats"],
      )
      per_row = (jax.nn.log_softmax(out.logits)[:, 0] ** 2).astype(jnp.float32)
      return jnp.where(where, per_row, 0.0).sum(), updated

    grads, updated = jax.grad(loss, has_aux=True)(variables["params"])
    return accel.sum(grads, axis_name), updated

  lift = functools.partial(accel.data_parallel, donate=False)
  one = lift(step, devices=jax.devices()[:1])(variables, (x, where))
  four = lift(step, mode=mode)(accel.place(variables), (x, where))
  accel.check_replicated(four)
  for a, b in zip(*map(jax.tree.leaves, (one, four)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


def test_create_names_what_there_is():
  with pytest.raises(ValueError, match=r"'resnet19'.*resnet18.*resnet34"):
    create("resnet19", 10)
  for name in NAMES:
    assert create(name, 7).num_classes == 7
