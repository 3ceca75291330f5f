"""Facts about every public loss, from one table of calls.

A loss that is not in the table fails `test_every_loss_is_here`.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import losses
from kd_jax.losses.catalog import catalog, describe, page

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(2, 4, 3)).astype(np.float32)
F, G = RNG.normal(size=(2, 4, 2, 2, 3)).astype(np.float32)
Q = RNG.dirichlet(np.ones(3), 3).astype(np.float32)
W = RNG.uniform(size=4).astype(np.float32)
LABELS = np.array([0, 2, 1, 2], np.int32)
WHERE = np.array([True, False, True, True])


def noisy(z, q, where=None):
  return losses.noisy_nll(z, q, LABELS[: len(z)], where=where)


def of_members(loss):
  """The rows of two members, in the form that the table has."""

  def call(x, y, where=None):
    both = jnp.stack([x, jnp.asarray(y).astype(x.dtype)])
    return loss(both, 0 * LABELS[: len(x)], where=where)

  return call


def weighted(s, t, w, where=None):
  return losses.feature_regression(s, t, weights=w, where=where)


def queued(x, y, where=None):
  return losses.info_nce_queue(x, y, 0.1 * X, temperature=0.3, where=where)


def of_views(loss, **settings):
  """Two views of the rows learn from one, in the form that the table has."""

  def call(x, y, where=None):
    y = jnp.asarray(y).astype(x.dtype)
    return loss(jnp.stack([x, y]), y[None], where=where, **settings)

  return call


def centred(student, teacher, where=None):
  return losses.dino(
    student,
    teacher,
    X[0],
    student_temperature=0.1,
    teacher_temperature=0.04,
    where=where,
  )


def both_ways(loss):
  """Predictions and targets of two views, of two arrays."""

  def call(x, y, where=None):
    return loss(x, y, y, x, where=where)

  return call


def combined(v, w, where=None):
  terms, weights = {"a": v, "b": v, "s": v[0]}, {"a": 2.0, "b": w, "s": 0.5}
  return losses.combine(terms, weights, where, normalize="weight")[0]


def of_scores(h, where=None):
  chosen = np.array([True, False, True])
  return losses.q_score_loss(h, chosen, eps=0.5, where=where)


# Name -> (call, inputs with a row per example, other inputs).
CASES = {
  "attention_mean_square": (losses.attention_mean_square, (F, G), ()),
  "relational_angle": (losses.relational_angle, (X, Y), ()),
  "relational_distance": (losses.relational_distance, (X, Y), ()),
  "similarity_preserving": (losses.similarity_preserving, (F, G), ()),
  "solution_flow": (
    lambda f, g, where=None: losses.solution_flow((f, g), (g, f), where=where),
    (F, G),
    (),
  ),
  "attention_transfer": (losses.attention_transfer, (F, G), ()),
  "barlow_twins": (losses.barlow_twins, (X, Y), ()),
  "brier": (
    lambda p, where=None: losses.brier(p, 0 * LABELS[: len(p)], where=where),
    (X,),
    (),
  ),
  "column_loss": (losses.column_loss, (X,), ()),
  "byol": (both_ways(losses.byol), (X, Y), ()),
  "combine": (combined, (X[:, 0], W), ()),
  "covariance_penalty": (losses.covariance_penalty, (X,), ()),
  "dino": (of_views(centred), (X, Y), ()),
  "disagreement_weights": (
    functools.partial(
      losses.disagreement_weights, kind="one_minus_minmax", stop_gradient=False
    ),
    (X, Y),
    (),
  ),
  "distillation_kl": (losses.distillation_kl, (X, Y), ()),
  "ensemble_cross_entropy": (
    of_members(losses.ensemble_cross_entropy),
    (X, Y),
    (),
  ),
  "feature_regression": (weighted, (F, G, W), ()),
  "gibbs_cross_entropy": (of_members(losses.gibbs_cross_entropy), (X, Y), ()),
  "lasso": (losses.lasso, (X,), ()),
  "info_nce_batch": (
    functools.partial(losses.info_nce_batch, temperature=0.3),
    (X, Y),
    (),
  ),
  "info_nce_queue": (queued, (X, Y), ()),
  "invariance": (losses.invariance, (X, Y), ()),
  "l3_penalty": (losses.l3_penalty, (X,), ()),
  "negative_cosine": (losses.negative_cosine, (X, Y), ()),
  "noisy_nll": (noisy, (X,), (Q,)),
  "nt_xent": (functools.partial(losses.nt_xent, temperature=0.3), (X, Y), ()),
  "q_score_loss": (of_scores, (X,), ()),
  "self_adversarial": (losses.self_adversarial, (X[:, 0], Y), ()),
  "simsiam": (both_ways(losses.simsiam), (X, Y), ()),
  # Wide enough for half precision to tell.
  "sinkhorn_codes": (
    functools.partial(losses.sinkhorn_codes, epsilon=0.5),
    (X,),
    (),
  ),
  "swapped_prediction": (of_views(losses.swapped_prediction), (X, Y), ()),
  "variance_hinge": (
    functools.partial(losses.variance_hinge, floor=3.0),
    (X,),
    (),
  ),
}
# One number of the batch; `redundancy_test` masks their rows.
SCALARS = {"barlow_twins", "combine", "covariance_penalty", "variance_hinge"}
PER_EXAMPLE = sorted(CASES.keys() - SCALARS)
# What rounds or overflows; moving and comparing numbers is exact in any type.
ARITHMETIC = {
  "add",
  "sub",
  "mul",
  "div",
  "exp",
  "exp2",
  "expm1",
  "log",
  "log1p",
  "logistic",
  "tanh",
  "erf",
  "sqrt",
  "rsqrt",
  "pow",
  "integer_pow",
  "square",
  "dot_general",
  "conv_general_dilated",
}


def equations(jaxpr):
  """Every equation, those of inner jaxprs included."""
  for eqn in jaxpr.eqns:
    yield eqn
    for value in jax.tree.leaves(
      list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
    ):
      inner = getattr(value, "jaxpr", value)
      if hasattr(inner, "eqns"):
        yield from equations(inner)


def too_coarse(jaxpr):
  """What runs in fewer than 32 bits or multiplies below "highest"."""
  highest = jax.lax.Precision.HIGHEST
  found = []
  for eqn in equations(jaxpr):
    name = eqn.primitive.name
    if name == "dot_general" and eqn.params["precision"] != (highest, highest):
      found.append((name, eqn.params["precision"]))
    if name == "reduce_sum" and _of_one(eqn):
      continue  # What a broadcast's gradient is: nothing is added.
    if name in ARITHMETIC or name.startswith(("reduce_", "cum")):
      found += [
        (name, v.aval.dtype)
        for v in eqn.invars
        if jnp.issubdtype(v.aval.dtype, jnp.floating)
        and jnp.finfo(v.aval.dtype).bits < 32
      ]
  return found


def _of_one(eqn):
  shape = eqn.invars[0].aval.shape
  return all(shape[axis] == 1 for axis in eqn.params["axes"])


def test_the_walk_sees_what_it_should():
  x = jnp.ones((2, 2), jnp.float16)
  inner = jax.jit(lambda x: jnp.exp(x))
  assert too_coarse(jax.make_jaxpr(inner)(x).jaxpr)
  y = jnp.ones((2, 2))
  assert too_coarse(jax.make_jaxpr(lambda y: y @ y)(y).jaxpr)

  def scan(y):
    return jax.lax.scan(lambda c, _: (c @ c, None), y, length=2)

  assert too_coarse(jax.make_jaxpr(scan)(y).jaxpr)

  def fine(y):
    return jnp.exp(jnp.matmul(y, y, precision="highest"))

  assert not too_coarse(jax.make_jaxpr(fine)(y).jaxpr)


def test_every_loss_is_here():
  assert sorted(CASES) == [info.name for info in catalog()]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_nothing_runs_below_float32(name, dtype):
  fn, rows, rest = CASES[name]
  args = jax.tree.map(lambda a: jnp.asarray(a, dtype), (*rows, *rest))
  value_and_grads = jax.value_and_grad(
    lambda *args: fn(*args, where=WHERE).sum(), tuple(range(len(args)))
  )
  assert jax.eval_shape(fn, *args).dtype == jnp.float32
  assert not too_coarse(jax.make_jaxpr(value_and_grads)(*args).jaxpr)


@pytest.mark.parametrize("name", CASES)
def test_half_precision_inputs_give_float32_results(name):
  fn, rows, rest = CASES[name]
  half = [np.float16(a) for a in (*rows, *rest)]
  full = fn(*[np.float32(a) for a in half])
  np.testing.assert_allclose(fn(*half), full, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_strict_promotion_and_jit(name):
  fn, rows, rest = CASES[name]
  args = jax.tree.map(jnp.asarray, (*rows, *rest))
  plain = fn(*args, where=WHERE)
  with jax.numpy_dtype_promotion("strict"):
    jitted = jax.jit(lambda *args: fn(*args, where=WHERE))(*args)
    mixed = fn(args[0].astype(jnp.bfloat16), *args[1:], where=WHERE)
  np.testing.assert_allclose(jitted, plain, rtol=1e-5, atol=1e-6)
  assert mixed.dtype == jnp.float32


@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_masked_rows_leave_no_trace(name):
  fn, rows, rest = CASES[name]
  poisoned = [
    np.where(WHERE.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan) for a in rows
  ]

  def total(*args):
    values = fn(*args, where=WHERE)
    return values.sum(), values

  order = tuple(range(len(rows) + len(rest)))
  grads, values = jax.grad(total, order, has_aux=True)(*poisoned, *rest)
  if name == "noisy_nll":
    alone = losses.noisy_nll(X[WHERE], Q, LABELS[WHERE])
  else:
    alone = fn(*[a[WHERE] for a in rows], *rest)
  np.testing.assert_allclose(values[WHERE], alone, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(values[~WHERE], 0)
  for i, grad in enumerate(grads):
    assert np.isfinite(grad).all()
    if i < len(rows):
      np.testing.assert_array_equal(grad[~WHERE], 0)


def test_catalog_reads_the_docstrings():
  by_name = {info.name: info for info in catalog()}
  info = by_name["noisy_nll"]
  assert info.equation == "l_i = -log (softmax(z_i) Q)_{y_i}"
  assert "theorem 2" in info.source  # From the continued line.
  assert (
    info.signature == "noisy_nll(logits, transition, labels, *, where=None)"
  )
  assert all(i.summary.endswith(".") for i in by_name.values())
  assert (
    info.shapes
    == "logits (b c), transition (c c), labels (b), where (b) -> (b)"
  )
  assert "optax's cross-entropy" in info.checked


def test_the_page_of_losses_is_what_the_command_prints():
  path = pathlib.Path(__file__).parents[2] / "LOSSES.md"
  said = "kd-jax list --losses --markdown > LOSSES.md writes it anew"
  assert path.read_text() == page(), said


@pytest.mark.parametrize("missing", ["Equation", "Source"])
def test_catalog_names_a_loss_without_its_lines(missing):
  def fn(x):
    return x

  lines = {"Equation": "Equation: l = x", "Source": "Source: here"}
  del lines[missing]
  fn.__doc__ = "Sums.\n\n" + "\n".join(lines.values())
  with pytest.raises(ValueError, match=f"new_loss has no line '{missing}"):
    describe("new_loss", fn)
