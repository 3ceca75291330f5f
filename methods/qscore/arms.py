"""The arms and the presets."""

from kd_jax.methods.qscore.config import Config, DiscoveryConfig, StudyConfig

ARMS = {"own": "your own representations, or planted ones"}

PRESETS = {
  # Seconds; what the tests run.
  "tiny": Config(
    examples=800,
    discovery=DiscoveryConfig(eps=2.0),
    study=StudyConfig(kept=(0.1, 0.6), draws=2),
  ),
  # Codes whose discriminative features are known; and, with --features, your
  # own, with a threshold that suits them.
  "planted": Config(),
  # The paper's threshold, for wide encoders that were trained for long.
  "paper": Config(discovery=DiscoveryConfig(eps=4.0)),
}
