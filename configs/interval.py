"""The experiment of lnm_jax/configs/interval.py, by its path."""

from lnm_jax.configs.interval import get_config  # noqa: F401
