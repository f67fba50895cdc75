"""The tests of psycopg's that fail on `m25.pg`, and why each must."""

EXPLAINED: dict[str, str] = {}
