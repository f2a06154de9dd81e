"""Training: losses, optimizer, steps, devices, checkpoints, metrics, and the loop."""
