"""TopKD: the topology of a batch of embeddings."""
