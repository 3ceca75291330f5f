"""The ablation of the paper's two numbers: the threshold and the band."""

import jax
import jax.numpy as jnp

from kd_jax import metrics

EPSILONS = (1.0, 1.5, 2.0, 3.0, 4.0)
BANDS = ((0, 100), (50, 95), (25, 95), (50, 100))


def make_grid(arm: str):
  """AUROC of the score over thresholds and bands."""

  def run(products, data, seed):
    del seed
    right = products[f"{arm}.predict"]["correct"]
    h = data["test_features"]

    def at(eps):
      counts = metrics.active_counts(data["train_features"], eps)
      percents = 100 * counts.total / counts.count

      def within(band):
        chosen = metrics.discriminative(percents, band[0], band[1])
        q = metrics.q_score(h, chosen, eps=eps)
        return metrics.roc_auc(q, right), (q == 0).mean()

      return jax.lax.map(within, jnp.asarray(BANDS, jnp.float32))

    auc, empty = jax.lax.map(at, jnp.asarray(EPSILONS, jnp.float32))
    values = {}
    for i, eps in enumerate(EPSILONS):
      for j, band in enumerate(BANDS):
        values[name(eps, band)] = auc[i, j]
        values[f"{name(eps, band)}_empty"] = empty[i, j]
    return {}, values

  return run


def name(eps: float, band: tuple[int, int]) -> str:
  """The metric of a threshold and a band: "grid_eps_1_5_band_50_95".

  Args:
    eps: the threshold.
    band: its two percentiles.

  Returns:
    The name; with "_empty" after it, the share without a score.
  """
  return f"grid_eps_{eps:g}_band_{band[0]}_{band[1]}".replace(".", "_")
