"""What is counted is what is held, and what is held is what is measured."""

from kd_jax.methods.robust_mdp import memory


def test_bytes_are_those_of_the_arrays():
  counted = memory.held_bytes(40, 3)
  for kind, make in memory.HELD.items():
    held = make(40, 3)
    assert counted[kind] == sum(array.nbytes for array in held.values())
  assert counted["plug_in"] / counted["model_free"] == 41 / 2


def test_a_child_that_holds_the_model_peaks_with_it():
  rows = memory.table((1000,), actions=10)
  (row,) = rows
  assert row["plug_in_bytes"] == 4 * 10_000 * 1001
  assert 0.9 < row["plug_in_rss"] / row["plug_in_bytes"] < 1.5
  assert row["model_free_rss"] < 4 * memory.MIB


def test_what_does_not_fit_is_counted_only():
  (row,) = memory.table((300,), actions=2, largest=10_000)
  assert row["plug_in_bytes"] > 10_000
  assert row["plug_in_rss"] is None
  assert row["model_free_rss"] is not None
