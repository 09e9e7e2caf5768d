"""Mixtures as densities: kernels, and fewer components in their place."""
