"""The experiment of lnm_jax/configs/base.py, by its path."""

from lnm_jax.configs.base import get_config  # noqa: F401
