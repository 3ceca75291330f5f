import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.errors import UsageError
from kd_jax.methods.compression import (
  arms,
  forms,
  hosts,
  kinds,
  magnitude,
  pipeline,
  presets,
  protocol,
  sharing,
  values,
)
from kd_jax.methods.compression.model import Model

MODEL = Model(hosts.MLP(3, (6, 4)), (2, 2, 1))
ORDER = ("fc_0/kernel", "fc_1/kernel", "head/kernel")
KEY = jax.random.key(0)


def test_a_pipeline_is_read():
  steps = pipeline.parse("slimming:0.5, penalty=1e-3 | int8 | huffman")
  assert [s.name for s in steps] == ["slimming", "int", "huffman"]
  assert steps[0].value == 0.5
  assert steps[0].options == {"penalty": 1e-3}
  assert steps[1].value == 8
  assert pipeline.code(steps) == "huffman"
  assert pipeline.code(steps[:2]) == "raw"
  assert pipeline.parse("") == []


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("share:5 | twn", "twn cannot come after share"),
    ("bwn | int8", "int cannot come after bwn"),
    ("prune:0.9 | slimming:0.5", "slimming cannot come after prune"),
    ("hashed:0.1 | filters:0.5", "filters cannot come after hashed"),
    ("hashed:0.1 | prune:0.5", "prune cannot come after hashed"),
    ("int8 | gradual:0.9", "gradual cannot come after int"),
    ("svd:3 | tucker:2", "tucker cannot come after svd"),
    ("fresh | slimming:0.5", "slimming cannot come after fresh"),
    ("prune:0.9 | svd:3", "svd cannot come after prune"),
    ("huffman | prune:0.9", "prune cannot come after huffman"),
    ("fixed | huffman", "huffman cannot come after fixed"),
    ("prun:0.5", "did you mean prune"),
    ("prune:x", "is no number"),
    ("prune:0.5,scop=global", "takes no 'scop'"),
    ("bwn:3", "takes no value"),
    ("huffman,steps=3", "takes nothing"),
    ("fold,steps=3", "takes nothing"),
    ("prune:0.9,steps=-4", "whole number from 0"),
    ("prune:0.9,steps=1.5", "whole number from 0"),
    ("tune,times=0", "times of 'tune,times=0' is above 0"),
    ("tune,steps=3,times=2", "in the place of steps"),
    ("tune,rate=nan", "rate of"),
  ],
)
def test_what_is_illegal_is_named(text, words):
  with pytest.raises(UsageError, match=words):
    pipeline.parse(text)


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("prune:1.0", "below 1"),
    ("prune:0.9,last=3", "below 1"),
    ("prune:0.9,scope=galaxy", "local or global"),
    ("gradual:0.9,end=2", "at most 1"),
    ("gradual:0.9,events=0", "events is 0; it is a whole number from 1"),
    ("han:1,rounds=0", "rounds is 0"),
    ("share:2.5", "share is 2.5; it is a whole number"),
    ("share:5,start=x", "linear or density"),
    ("int8full,delay=-1", "delay is -1"),
    ("slimming:0.5,least=0", "least is 0"),
    ("filters:0.5,round_to=1.5", "round_to is 1.5"),
  ],
)
def test_numbers_out_of_range_are_refused_before_training(text, words):
  (step,) = pipeline.parse(text)
  with pytest.raises(UsageError, match=words):
    pipeline.build(step, kinds.Context(MODEL, ORDER, 30))


def test_every_arms_pipeline_is_legal_and_builds():
  for name in arms.ARMS:
    text = arms.of_arm(presets.PRESETS["tiny"], name)[1]
    for step in pipeline.parse(text):
      if kinds.KINDS[step.name].make is not None:
        pipeline.build(step, kinds.Context(MODEL, ORDER, 30))


@pytest.mark.parametrize("name", kinds.KINDS)
def test_every_step_builds_with_its_own_value(name):
  kind = kinds.KINDS[name]
  if kind.make is not None:
    (step,) = pipeline.parse(name)
    made = pipeline.build(step, kinds.Context(MODEL, ORDER, 30))
    assert made.kind == kind.kind
    assert kind.help


def _params():
  rng = np.random.default_rng(0)
  params = MODEL.init(KEY)["params"]
  return jax.tree.map(
    lambda w: jnp.asarray(rng.normal(size=w.shape), jnp.float32), params
  )


def test_transforms_compose_left_to_right():
  """Pruned, then shared: as doing one after the other by hand."""
  params = _params()
  both = protocol.chain(magnitude.prune(0.5), sharing.share(2))
  tree, states = both.init(KEY, params)
  pruned = magnitude.apply_masks(params, states["0_prune"]["mask"])
  seen = both.project(tree, states, 0)["fc_0"]["kernel"]
  c, code = sharing.kmeans(pruned["fc_0"]["kernel"].ravel(), 3)
  table = np.concatenate([[0], np.asarray(c)])
  want = table[np.asarray(code)].reshape(seen.shape)
  np.testing.assert_allclose(seen, want)
  np.testing.assert_array_equal(seen == 0, pruned["fc_0"]["kernel"] == 0)
  done = both.finalize(tree, states)["fc_0"]["kernel"]
  assert forms.form(done) == "shared"
  np.testing.assert_allclose(forms.value(done), want)


def test_masks_survive_quantised_training():
  params = _params()
  both = protocol.chain(magnitude.prune(0.5), values.integer(4))
  tree, states = both.init(KEY, params)
  tx = protocol.wrap(optax.adam(0.1), both, states)
  opt_state = tx.init(tree)

  @jax.jit
  def step(tree, opt_state):
    def loss(tree):
      view = both.project(tree, opt_state.scheme, opt_state.count)
      return MODEL.logits({"params": view}, jnp.ones((2, 2, 2, 1))).sum()

    updates, new = tx.update(jax.grad(loss)(tree), opt_state, tree)
    return optax.apply_updates(tree, updates), new

  for _ in range(3):
    tree, opt_state = step(tree, opt_state)
  done = both.finalize(tree, opt_state.scheme)
  for name in ("fc_0", "fc_1", "head"):
    mask = states["0_prune"]["mask"][f"{name}/kernel"]
    q = done[name]["kernel"]["scaled"]["q"]
    assert (np.asarray(q)[~np.asarray(mask)] == 0).all()
  moved = np.asarray(tree["fc_0"]["kernel"] - params["fc_0"]["kernel"])
  mask = np.asarray(states["0_prune"]["mask"]["fc_0/kernel"])
  assert (moved[mask] != 0).any()


def test_the_first_convolution_and_the_last_layer_keep_more():
  model = Model(hosts.LeNet5(3, (4, 5, 6)), (16, 16, 1))
  params = model.init(KEY)["params"]
  order = model.order({"params": params})
  assert kinds.context(MODEL, _params(), ORDER, 3).convolves is False

  def zeros(text):
    (step,) = pipeline.parse(text)
    made = pipeline.build(step, kinds.context(model, params, order, 3))
    mask = made.init(KEY, params)[1]["mask"]
    return {p.split("/")[0]: int((~m).sum()) for p, m in mask.items()}

  # Of 100, 500, 30 and 18: 0.4, 1, 1 and 0.5 times 0.8.
  assert zeros("prune:0.8") == {"conv_0": 32, "conv_1": 400, "fc_0": 24,
                                "head": 7}  # fmt: skip
  assert zeros("prune:0.8,first=1,last=1")["conv_0"] == 80


def test_a_pattern_says_where():
  (step,) = pipeline.parse("prune:0.5,on=fc_1/*")
  made = pipeline.build(step, kinds.Context(MODEL, ORDER, 3))
  _, state = made.init(KEY, _params())
  assert list(state["mask"]) == ["fc_1/kernel"]


def test_state_travels_in_the_optimizers():
  params = _params()
  scheme = magnitude.prune(0.5)
  params, state = scheme.init(KEY, params)
  opt_state = protocol.wrap(optax.sgd(0.1), scheme, state).init(params)
  leaves = jax.tree.leaves(opt_state.scheme)
  assert all(m.dtype == bool for m in leaves)
  assert opt_state.count == 0


def test_fresh_weights_have_the_shapes_that_are_there():
  params = {"a": {"kernel": jnp.zeros((50, 40)), "bias": jnp.ones(40)},
            "norm": {"scale": jnp.zeros(40)}}  # fmt: skip
  new, _ = protocol.fresh().init(KEY, params)
  np.testing.assert_allclose(new["a"]["kernel"].std(), 50**-0.5, rtol=0.1)
  assert (new["a"]["bias"] == 0).all()
  assert (new["norm"]["scale"] == 1).all()
