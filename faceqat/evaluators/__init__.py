"""Measures networks from their embeddings, and programs layer by layer.

A predict function takes images to embeddings. What summarizes those yields
(metric name, value); `precisions` collects them by precision.
"""
