"""The tests of psycopg's that fail on `m25.pg`, by name, and why."""

EXPLAINED = {
    "test_copy_async.py::test_worker_life": (
        "AsyncQueuedLibpqWriter starts an asyncio task that belongs to nobody; ours refuses it"
    ),
    "test_copy_async.py::test_worker_error_propagated": (
        "AsyncQueuedLibpqWriter starts an asyncio task that belongs to nobody; ours refuses it"
    ),
    "test_pipeline_async.py::test_outer_transaction_error": (
        "a transaction() whose error was caught inside raises InFailedSqlTransaction; that of"
        " psycopg ends as if it had committed"
    ),
    "test_connection_async.py::test_connect_error_multi_hosts_each_message_preserved": (
        "it needs a network in which addresses nobody has are silent; where they are refused at"
        " once, it fails on asyncio too"
    ),
}


def explanation(nodeid: str) -> str | None:
    """Why this test may fail, if there is a reason."""
    name = nodeid.removeprefix("tests/").partition("[")[0]
    return EXPLAINED.get(name)
