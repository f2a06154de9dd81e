"""The experiment of lnm_jax/configs/digits.py, by its path."""

from lnm_jax.configs.digits import get_config  # noqa: F401
