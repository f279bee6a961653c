"""Learners for few-shot image classification and regression, built from a configuration."""
