"""Feature maps of any network, by hooks."""
