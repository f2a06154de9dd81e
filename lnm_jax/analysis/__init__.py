"""What a trained network's neurons have learned; `python -m lnm_jax.analysis` writes a report."""
