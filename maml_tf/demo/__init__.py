"""A page to try maml_tf in a browser: characters, sinusoids, navigation in the plane. It needs the extra `demo`."""

# The tabs and their titles; each is a module of this package.
TABS = {"characters": "Characters", "sinusoid": "Sinusoid", "navigation": "2D navigation"}
