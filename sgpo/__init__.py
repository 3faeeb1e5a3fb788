"""Strategy-Guided Policy Optimization (arXiv 2606.24064): the method and its training loop."""

__version__ = "0.1.0"
