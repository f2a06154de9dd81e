"""The experiment of lnm_jax/configs/digits_dvs.py, by its path."""

from lnm_jax.configs.digits_dvs import get_config  # noqa: F401
