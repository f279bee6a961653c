"""Checks whether a model's layers have the second derivatives that exact meta-gradients need."""
