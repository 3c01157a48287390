"""Triton kernels, each with an eager twin."""
