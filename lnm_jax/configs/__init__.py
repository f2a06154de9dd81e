"""Experiments: `base` has every field, each other file states what differs."""
