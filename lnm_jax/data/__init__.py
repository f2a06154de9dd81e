"""Data sets, batches and augmentation. Data-set libraries are imported where they are used."""

from lnm_jax.data import digits
from lnm_jax.data.batches import eval_batches, steps_until, train_batches
from lnm_jax.data.dataset import Dataset, Split

DATASETS = {"digits": digits.load}

__all__ = ["DATASETS", "Dataset", "Split", "eval_batches", "steps_until", "train_batches"]
