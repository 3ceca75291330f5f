import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kd_jax import losses

RNG = np.random.default_rng(0)


def normal(*shape, scale=1.0):
  return (scale * RNG.normal(size=shape)).astype(np.float32)


def softmax(z):
  e = np.exp(z - z.max())
  return e / e.sum()


def kl_loop(student, teacher, t):
  out = []
  for s, z in zip(student.astype(float), teacher.astype(float), strict=True):
    p, q = softmax(z / t), softmax(s / t)
    out.append(t * t * sum(a * np.log(a / b) for a, b in zip(p, q)))  # noqa: B905
  return np.array(out)


def attention_loop(f):
  a = np.array(
    [
      [(f[i, j] ** 2).mean() for j in range(f.shape[1])]
      for i in range(f.shape[0])
    ]
  ).ravel()
  return a / np.sqrt((a**2).sum())


class TestDistillationKl:
  @pytest.mark.parametrize("t", [0.5, 1, 4.0])
  def test_loop(self, t):
    s, z = normal(5, 7), normal(5, 7)
    got = jax.jit(losses.distillation_kl)(s, z, temperature=jnp.float32(t))
    np.testing.assert_allclose(got, kl_loop(s, z, t), rtol=1e-4)
    plain = losses.distillation_kl(s, z, temperature=t)
    np.testing.assert_allclose(plain, got, rtol=1e-5)

  def test_hot_limit_is_half_the_variance_of_the_difference(self):
    s, z = normal(3, 6), normal(3, 6)
    got = losses.distillation_kl(s, z, temperature=50.0)
    np.testing.assert_allclose(got, (s - z).var(1) / 2, rtol=0.1)

  def test_gradient_is_the_difference_of_probabilities_at_any_size(self):
    s, z, t = normal(2, 4, scale=1e4), normal(2, 4, scale=1e4), 0.01
    value, grad = jax.value_and_grad(
      lambda s: losses.distillation_kl(s, z, temperature=t).sum()
    )(s)
    expect = t * np.stack(
      [
        softmax(a / t) - softmax(b / t)
        for a, b in zip(s.astype(float), z.astype(float), strict=True)
      ]
    )
    assert np.isfinite(value)
    np.testing.assert_allclose(grad, expect, atol=1e-7)

  def test_teacher_gradient_only_when_asked(self):
    s, z = normal(3, 4), normal(3, 4)
    stopped = jax.grad(lambda z: losses.distillation_kl(s, z).sum())(z)
    np.testing.assert_array_equal(stopped, 0)
    check_grads(
      lambda s, z: losses.distillation_kl(s, z, stop_target_gradient=False),
      (s, z),
      order=1,
      modes=["rev"],
      atol=2e-2,
      rtol=2e-2,
    )

  def test_equal_and_shifted_logits_give_zero(self):
    z = normal(4, 5)
    np.testing.assert_allclose(losses.distillation_kl(z, z), 0, atol=1e-6)
    np.testing.assert_allclose(losses.distillation_kl(z + 3, z), 0, atol=1e-5)

  @pytest.mark.parametrize("t", [0.0, -1, float("nan")])
  def test_temperature_is_positive(self, t):
    with pytest.raises(ValueError, match="must be positive"):
      losses.distillation_kl(normal(2, 3), normal(2, 3), temperature=t)

  def test_shapes(self, unhooked):
    fn = unhooked(losses.distillation_kl)
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\)"):
      fn(normal(2, 3), normal(2, 4))
    with pytest.raises(ValueError, match=r"where is \(3,\).*\(2,\)"):
      fn(normal(2, 3), normal(2, 3), where=np.ones(3, bool))


class TestFeatureRegression:
  def test_loop(self):
    s, t, w = normal(3, 2, 2, 4), normal(3, 2, 2, 4), normal(3) ** 2
    expect = [w[i] * ((s[i] - t[i]) ** 2).mean() for i in range(3)]
    got = losses.feature_regression(s, t, weights=w)
    np.testing.assert_allclose(got, expect, rtol=1e-5)
    plain = losses.feature_regression(s, t)
    np.testing.assert_allclose(plain, expect / w, rtol=1e-5)

  def test_gradients(self):
    s, t, w = normal(3, 4), normal(3, 4), normal(3) ** 2
    check_grads(
      lambda s, t, w: losses.feature_regression(
        s, t, weights=w, stop_target_gradient=False
      ),
      (s, t, w),
      order=1,
      modes=["rev"],
      atol=1e-2,
      rtol=1e-2,
    )
    grad = jax.grad(lambda t: losses.feature_regression(s, t).sum())(t)
    np.testing.assert_array_equal(grad, 0)

  def test_float16_does_not_overflow(self):
    s, t = np.float16([[6e4, 0.0]]), np.float16([[-6e4, 0.0]])
    got = losses.feature_regression(s, t)
    expect = 2 * np.float64(np.float16(6e4)) ** 2
    np.testing.assert_allclose(got, [expect], rtol=1e-6)

  def test_shapes(self, unhooked):
    fn = unhooked(losses.feature_regression)
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 1\)"):
      fn(normal(2, 3), normal(2, 1))
    with pytest.raises(ValueError, match=r"weights is \(1,\).*\(2,\)"):
      fn(normal(2, 3), normal(2, 3), weights=normal(1))


class TestAttentionTransfer:
  def test_loop(self):
    s, t = normal(3, 2, 4, 5), normal(3, 2, 4, 2)
    expect = [
      np.sqrt(((attention_loop(a) - attention_loop(b)) ** 2).sum())
      for a, b in zip(s.astype(float), t.astype(float), strict=True)
    ]
    np.testing.assert_allclose(
      losses.attention_transfer(s, t), expect, rtol=1e-5
    )

  @pytest.mark.parametrize("scale", [1e-18, 1e18])
  def test_scale_of_a_map_does_not_matter(self, scale):
    s, t = normal(2, 3, 3, 4), normal(2, 3, 3, 4)
    np.testing.assert_allclose(
      losses.attention_transfer(s * np.float32(scale), t),
      losses.attention_transfer(s, t),
      rtol=1e-5,
    )

  def test_opposite_places_give_root_two(self):
    s, t = np.zeros((2, 1, 1, 2, 1), np.float32)
    s[0, 0, 0], t[0, 0, 1] = 3, 5
    np.testing.assert_allclose(
      losses.attention_transfer(s, t), [np.sqrt(2)], rtol=1e-6
    )

  def test_gradients(self):
    s, t = normal(2, 2, 2, 3), normal(2, 2, 2, 3)
    check_grads(
      lambda s, t: losses.attention_transfer(s, t, stop_target_gradient=False),
      (s, t),
      order=1,
      modes=["rev"],
      atol=2e-2,
      rtol=2e-2,
    )
    grad = jax.grad(lambda t: losses.attention_transfer(s, t).sum())(t)
    np.testing.assert_array_equal(grad, 0)

  @pytest.mark.parametrize("s", [np.zeros((1, 2, 2, 3), np.float32), None])
  def test_zero_and_equal_maps_have_finite_gradients(self, s):
    t = normal(1, 2, 2, 3)
    grad = jax.grad(lambda s: losses.attention_transfer(s, t).sum())(
      t if s is None else s
    )
    np.testing.assert_array_equal(grad, 0)

  def test_shapes(self, unhooked):
    with pytest.raises(ValueError, match=r"\(1, 2, 2, 3\).*\(1, 4, 4, 3\)"):
      unhooked(losses.attention_transfer)(
        normal(1, 2, 2, 3), normal(1, 4, 4, 3)
      )


class TestDisagreementWeights:
  def test_kinds(self):
    s, t = normal(5, 3), normal(5, 3)
    d = np.array(
      [np.sqrt(((a - b + 1e-6) ** 2).sum()) for a, b in zip(s, t, strict=True)]
    )
    expect = {
      "sigmoid": 1 / (1 + np.exp(-d)),
      "none": np.ones(5),
      "one_minus_minmax": 1 - (d - d.min()) / (d.max() - d.min()),
    }
    for kind, value in expect.items():
      got = losses.disagreement_weights(s, t, kind=kind)
      np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6)

  @pytest.mark.parametrize("kind", ["sigmoid", "none", "one_minus_minmax"])
  def test_masked_rows_weigh_nothing_and_change_nothing(self, kind):
    s, t = normal(5, 3), normal(5, 3)
    where = np.array([1, 0, 1, 1, 0], bool)
    s[1], t[4] = np.nan, 1e4
    got = losses.disagreement_weights(s, t, kind=kind, where=where)
    alone = losses.disagreement_weights(s[where], t[where], kind=kind)
    np.testing.assert_allclose(got[where], alone, rtol=1e-6)
    np.testing.assert_array_equal(got[~where], 0)
    none = losses.disagreement_weights(s, t, kind=kind, where=where & False)
    np.testing.assert_array_equal(none, 0)

  def test_equal_distances_weigh_one(self):
    z = normal(4, 3)
    got = losses.disagreement_weights(z, z, kind="one_minus_minmax")
    np.testing.assert_array_equal(got, 1)

  def test_gradient_only_when_asked(self):
    s, t = normal(4, 3), normal(4, 3)
    stopped = jax.grad(lambda s: losses.disagreement_weights(s, t).sum())(s)
    np.testing.assert_array_equal(stopped, 0)
    for kind in ("sigmoid", "one_minus_minmax"):
      check_grads(
        lambda s, t, kind=kind: losses.disagreement_weights(
          s, t, kind=kind, stop_gradient=False
        ),
        (s, t),
        order=1,
        modes=["rev"],
        atol=2e-2,
        rtol=2e-2,
      )

  def test_unknown_kind(self, unhooked):
    with pytest.raises(ValueError, match="kind is 'max'"):
      unhooked(losses.disagreement_weights)(
        normal(2, 3), normal(2, 3), kind="max"
      )
