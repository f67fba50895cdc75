"""The benchmarks: `nox -s bench`, or `python -m benchmarks drain` for one of them.

Each pairs what it compares in one run, checks that the work was done, prints a table, and writes
its figures as JSON into `benchmarks/results/`. A lone time on a shared machine says nothing.
"""
