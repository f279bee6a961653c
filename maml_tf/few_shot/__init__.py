"""Learners for few-shot image classification and regression, as a configuration describes them."""
