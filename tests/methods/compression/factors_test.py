import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import backbones
from kd_jax.errors import UsageError
from kd_jax.methods.compression import factors, forms, network
from kd_jax.methods.compression.model import Model

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def normal(*shape):
  return RNG.normal(size=shape).astype(np.float32)


def test_a_truncated_svd_is_the_best_matrix_of_its_rank():
  w = normal(9, 6)
  s = np.linalg.svd(w, compute_uv=False)
  for rank in (1, 3, 6):
    p = jax.jit(factors.svd, static_argnums=1)(w, rank)
    error = np.linalg.norm(np.asarray(p["u"] @ p["v"]) - w)
    # Eckart and Young.
    np.testing.assert_allclose(error, np.sqrt((s[rank:] ** 2).sum()), atol=1e-5)


def test_tais_filters_are_the_best_of_their_form():
  w = normal(3, 3, 4, 5)
  matrix = w.transpose(2, 0, 1, 3).reshape(12, 15)
  s = np.linalg.svd(matrix, compute_uv=False)
  for rank in (2, 7):
    leaf = {"vh": factors.vertical_horizontal(w, rank)}
    error = np.linalg.norm(np.asarray(forms.weights(leaf)) - w)
    np.testing.assert_allclose(error, np.sqrt((s[rank:] ** 2).sum()), rtol=1e-4)


def test_tucker_improves_on_its_start_and_is_exact_at_full_rank():
  w = normal(3, 3, 6, 8)

  def error(ranks, sweeps):
    leaf = {"tucker": factors.tucker(w, ranks, sweeps)}
    return np.linalg.norm(np.asarray(forms.weights(leaf)) - w)

  assert error((6, 8), 1) < 1e-4
  assert error((3, 4), 20) <= error((3, 4), 0) + 1e-5
  leaf = factors.tucker(w, (3, 4))
  np.testing.assert_allclose(leaf["s"].T @ leaf["s"], np.eye(3), atol=1e-5)


def test_cp_finds_a_kernel_of_that_rank():
  parts = [normal(n, 2) for n in (3, 3, 5, 6)]
  w = np.einsum("ir,jr,sr,tr->ijst", *parts)
  p = factors.cp(jnp.asarray(w), 2, KEY, sweeps=100, ridge=1e-7)
  error = np.linalg.norm(np.asarray(forms.weights({"cp": p})) - w)
  assert error < 1e-2 * np.linalg.norm(w)
  # Columns of one length in all factors.
  lengths = [np.linalg.norm(p[k], axis=0) for k in "abc"]
  lengths.append(np.linalg.norm(p["d"], axis=1))
  np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], (4, 2)),
                             rtol=1e-3)  # fmt: skip


class Net(nn.Module):
  """A strided, padded convolution of flax's and one of ours."""

  @nn.compact
  def __call__(self, x, *, train):
    x = nn.Conv(6, (3, 3), (2, 1), ((1, 2), (0, 1)), name="a")(x)
    x = backbones.Conv(5, (3, 3), 2, "SAME", name="b")(nn.relu(x))
    x = nn.relu(x).reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(7, name="c")(x))
    return nn.Dense(3, name="head")(x)


@pytest.mark.parametrize(
  ("name", "rank"), [("svd", 99), ("vh", 99), ("tucker", 99), ("cp", 60)]
)
def test_at_full_rank_the_layers_are_the_network(name, rank):
  model = Model(Net(), (7, 8, 4))
  variables = jax.tree.map(
    lambda w: w + 0.1 * jnp.asarray(normal(*w.shape)), model.init(KEY)
  )
  scheme = factors.low_rank(name, rank, exclude=())
  params, _ = jax.jit(scheme.init)(KEY, variables["params"])
  made = {forms.form(v["kernel"]) for v in params.values()}
  assert name in made
  x = jnp.asarray(normal(3, 7, 8, 4))
  logits = jax.jit(model.logits)
  want = logits(variables, x)
  got = logits({"params": params}, x)
  # CP at a rank above d d S solves one factor exactly.
  dense = jax.tree.map(
    lambda v: v, {k: {**v, "kernel": forms.weights(v["kernel"])}
                  for k, v in params.items()}
  )  # fmt: skip
  np.testing.assert_allclose(
    got, logits({"params": dense}, x), rtol=1e-3, atol=1e-4
  )
  np.testing.assert_allclose(got, want, atol=2e-2 if name == "cp" else 1e-4)


def test_ranks_by_energy_and_where_factors_pay():
  s = np.array([3.0, 2.0, 1.0])  # Squares 9, 4, 1 of 14.
  ranks = [factors.energy_rank(s, e) for e in (0.5, 0.9, 13 / 14, 0.95, 1.0)]
  assert ranks == [1, 2, 2, 3, 3]
  assert factors.pays(4, 10, 10)
  assert not factors.pays(5, 10, 10)


def test_kernels_that_would_grow_stay_and_wrong_ranks_are_refused():
  params = {"a": {"kernel": jnp.asarray(normal(10, 12))},
            "b": {"kernel": jnp.asarray(normal(3, 90))}}  # fmt: skip
  # Ranks 5 of 10 (pays below 5.45) and 2 of 3 (pays below 2.9).
  made, _ = factors.low_rank("svd", 0.5, exclude=()).init(KEY, params)
  assert [forms.form(v["kernel"]) for v in made.values()] == ["svd", "svd"]
  made, _ = factors.low_rank("svd", 0.7, exclude="b/*").init(KEY, params | {
    "c": {"kernel": jnp.asarray(normal(3, 90))}})  # fmt: skip
  forms_ = {k: forms.form(v["kernel"]) for k, v in made.items()}
  assert forms_ == {"a": "dense", "b": "dense", "c": "svd"}
  with pytest.raises(UsageError, match="above 0"):
    factors.low_rank("svd", 0)
  with pytest.raises(UsageError, match="no kernel"):
    factors.low_rank("cp", 2).init(KEY, params)


def test_a_1x1_convolution_is_left_alone():
  params = {"a": {"kernel": jnp.asarray(normal(1, 1, 4, 4))},
            "b": {"kernel": jnp.asarray(normal(3, 3, 4, 4))}}  # fmt: skip
  made, _ = factors.low_rank("tucker", 2).init(KEY, params)
  assert forms.form(made["a"]["kernel"]) == "dense"
  assert made["b"]["kernel"]["tucker"]["core"].shape == (3, 3, 2, 2)
  assert network.Geometry((1, 1), ((0, 0), (0, 0))).dilation == (1, 1)
