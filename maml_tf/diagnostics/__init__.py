"""Diagnosis of models: which layers have the second derivatives that exact meta-gradients need."""
