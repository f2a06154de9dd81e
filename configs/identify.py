"""The experiment of lnm_jax/configs/identify.py, by its path."""

from lnm_jax.configs.identify import get_config  # noqa: F401
