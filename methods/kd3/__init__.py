"""KD^3: distillation on web images whose distribution is not the original's."""

from kd_jax.methods.kd3.config import Config as Config
