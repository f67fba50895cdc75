"""Looks for what is wrong with a database, as `m25 doctor` tells it.

`checks` has all there is to look for, with what is said of it. Most of it is found by a statement
of `sql/`, of the same name; the rest by a function of `looks`. `examination` makes the checks, one
after the other. Nothing here changes a database.
"""
