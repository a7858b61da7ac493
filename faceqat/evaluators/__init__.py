"""Measures networks from their embeddings, and programs layer by layer.

A predict function takes images to embeddings. A `summarize` function yields
(metric name, value); `precisions` collects them by precision.
"""

# In the order of every table: what others are compared with, ..., what ships.
PRECISIONS = ('float', 'fake_quant', 'integer')
