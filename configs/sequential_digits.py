"""The experiment of lnm_jax/configs/sequential_digits.py, by its path."""

from lnm_jax.configs.sequential_digits import get_config  # noqa: F401
