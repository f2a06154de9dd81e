"""What a trained network's neurons have learned."""
