"""Taking a trained network out of training."""

from lnm_jax.export.network import fold_batch_norm

__all__ = ["fold_batch_norm"]
