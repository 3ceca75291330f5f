"""A phase on the host may give shapes that nobody knew before."""

import jax.numpy as jnp
import numpy as np

from kd_jax.experiment import Config, WholeRun
from kd_jax.training import run
from kd_jax.training.progress import Reporter


def _phases():
  def cut(products, data, seed):
    assert isinstance(data, np.ndarray)
    return {"kept": {"x": data[data > int(seed)]}}, {"left": 1.0}

  def double(products, data, seed):
    x = products["cut"]["kept"]["x"]
    return {"y": 2 * x}, {"sum": jnp.sum(x).astype(jnp.float32)}

  return [
    WholeRun("cut", cut, data=np.arange(6), host=True),
    WholeRun("double", double),
  ]


def test_shapes_follow_values_and_are_read_back(tmp_path):
  config = Config(seed=3)

  def execute():
    return run.execute(
      config, _phases(), tmp_path, reporter=Reporter(quiet=True)
    )

  found = execute()["metrics"]
  assert found == {"cut.left": 1.0, "double.sum": 9.0}
  products = run.read_products(_phases(), tmp_path, config)
  np.testing.assert_array_equal(products["cut"]["kept"]["x"], [4, 5])
  np.testing.assert_array_equal(products["double"]["y"], [8, 10])
  assert execute()["metrics"] == found  # Nothing runs again.
