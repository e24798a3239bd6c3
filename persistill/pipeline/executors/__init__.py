"""Ways to walk the graph of the stages."""
