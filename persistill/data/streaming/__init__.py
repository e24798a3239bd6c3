"""Images of the topology command, one after the other, with bounded memory."""
