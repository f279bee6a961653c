"""A server of a meta-learned model that keeps adapted weights for each tenant; needs the extra `serve`."""
