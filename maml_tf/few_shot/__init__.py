"""Learners for few-shot image classification, as a configuration describes them."""
