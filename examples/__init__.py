"""Applications that use the package: one file for each framework, and ``demo``, a small site."""
