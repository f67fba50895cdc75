"""Real processes, a real server, and everything that can go wrong between them."""
