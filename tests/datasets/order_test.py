"""The order of examples against a plain statement of it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.datasets import order

_M = 2**32
_rows = jax.jit(order.rows, static_argnums=2)


def _mix(x):
  x = (x ^ (x >> 16)) * 0x85EBCA6B % _M
  x = (x ^ (x >> 13)) * 0xC2B2AE35 % _M
  return x ^ (x >> 16)


def _plain(seed, step, slot, batch_size, n):
  """One row in Python's unbounded integers."""
  epoch, x = divmod(step * batch_size + slot, n)
  digits = max(4, math.isqrt(n - 1) + 1)
  key = _mix((_mix((seed + 0x9E3779B9) % _M) + epoch) % _M)
  while True:
    left, right = divmod(x, digits)
    for i in range(10):
      k = _mix((key + i * 0x9E3779B9) % _M)
      left, right = right, (left + _mix(right ^ k) * digits // _M) % digits
    x = left * digits + right
    if x < n:
      return x


@pytest.mark.parametrize(
  ("seed", "step", "batch_size", "n"),
  [
    (0, 0, 8, 5),
    (7, 3, 8, 1),
    (2**32 - 1, 11, 13, 1797),
    (1, 2**31 - 1, 4, 1_281_167),  # Positions far beyond 32 bits.
    (5, 2**31 - 2, 6, 2**30),
    (4, 5, 9, 32_767**2),  # About squares, where a rounded root may err.
    (4, 5, 9, 32_767**2 + 1),
  ],
)
def test_rows_value(seed, step, batch_size, n):
  expected = [
    _plain(seed, step, slot, batch_size, n) for slot in range(batch_size)
  ]
  got = _rows(jnp.uint32(seed), step, batch_size, n)
  assert got.dtype == jnp.int32
  np.testing.assert_array_equal(got, expected)
  host = order.host_rows(seed, step, batch_size, n)
  assert host.dtype == np.int32
  np.testing.assert_array_equal(host, expected)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 17, 100, 1797])
def test_each_epoch_visits_each_row_once(n):
  batch_size = 7  # Batches straddle the epochs' edges.
  steps = -(-3 * n // batch_size)
  drawn = [order.host_rows(3, s, batch_size, n) for s in range(steps)]
  epochs = np.concatenate(drawn)[: 3 * n].reshape(3, n)
  expected = np.tile(np.arange(n), (3, 1))
  np.testing.assert_array_equal(np.sort(epochs, axis=1), expected)


def test_orders_differ_by_epoch_and_seed():
  n = 100
  orders = {
    tuple(order.host_rows(seed, epoch, n, n).tolist())
    for seed in range(5)
    for epoch in range(5)
  }
  assert len(orders) == 25


def test_orders_are_even():
  """Chi-squared over (place, row) of 4,000 epochs of 7: 36 degrees."""
  n, epochs = 7, 4000
  drawn = order.host_rows(0, 0, n * epochs, n).reshape(epochs, n)
  seen = np.stack([np.bincount(drawn[:, p], minlength=n) for p in range(n)])
  chi = ((seen - epochs / n) ** 2 / (epochs / n)).sum()
  assert chi < 80  # One in 30,000 under evenness; 4 rounds gave far more.


def test_few_places_are_walked():
  """A batch waits for its longest walk: the domain hardly exceeds n."""
  for n in (17, 400, 1797, 5000, 2**20 + 1):
    digits = int(order._root(np, np.uint32(n)))
    assert (digits - 1) ** 2 < n <= digits**2


def test_neighbours_are_even():
  """Chi-squared over (row, next row) of 120,000 epochs of 16: 239 degrees."""
  n, epochs = 16, 20_000
  seen = np.zeros(n * n, int)
  for seed in range(6):
    drawn = order.host_rows(seed, 0, n * epochs, n).reshape(epochs, n)
    pairs = (drawn[:, :-1] * n + drawn[:, 1:]).ravel()
    seen += np.bincount(pairs, minlength=n * n)
  off = seen.reshape(n, n)[~np.eye(n, dtype=bool)]
  even = off.sum() / off.size
  # Four deviations; 8 rounds give over 500.
  assert ((off - even) ** 2 / even).sum() < 327


def test_slots_are_a_part_of_the_batch():
  whole = _rows(1, 9, 12, 50)
  part = order.rows(1, 9, 12, 50, jnp.arange(4, 8))
  np.testing.assert_array_equal(part, whole[4:8])
