"""m25 beside its peers in Python, on one server, with the same jobs and the same sinks."""
