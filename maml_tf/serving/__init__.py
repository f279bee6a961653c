"""A server of meta-learned models, each of whose tenants has adapted weights of its own; needs the extra `serve`."""
