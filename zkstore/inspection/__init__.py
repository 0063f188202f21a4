"""Looking into a data directory without touching it: what is there, and what was at any moment."""
