"""What a process does for its queues: it claims jobs, runs them, and writes their outcomes."""
