"""What many tests need: waiting, processes, proxies, failures, and one way into insides."""
