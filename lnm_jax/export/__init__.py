"""Taking a trained network out of training."""

from lnm_jax.export.fold import fold_batch_norm

__all__ = ["fold_batch_norm"]
