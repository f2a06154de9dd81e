"""Experiments by their paths; what they set is in lnm_jax/configs."""
