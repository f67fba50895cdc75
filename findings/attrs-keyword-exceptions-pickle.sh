#!/usr/bin/env bash
# attrs 26.1.0: an exception class with keyword-only fields can be pickled, and not unpickled.
#
# attrs gives the values of all fields to BaseException.__init__, so that `args` has them; and an
# exception is unpickled by calling its class with `args`, by position. With `kw_only=True` that is a
# TypeError in the process that receives it: where a pool of processes hands errors over by pickle, an
# error of the called function comes to light as one of the pool.
# Seen: "dumped: True" and "TypeError: Full.__init__() takes 1 positional argument but 2 were given".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'attrs==26.1.0'
cat > "$folder/program.py" <<'PROGRAM'
import pickle

import attrs


@attrs.define(kw_only=True)
class Full(Exception):
    mailbox: str


dumped = pickle.dumps(Full(mailbox="ada"))
print(f"dumped: {bool(dumped)}")
try:
    print(f"loaded: {pickle.loads(dumped)!r}")
except TypeError as error:
    print(f"TypeError: {error}")
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
expected='dumped: True
TypeError: Full.__init__() takes 1 positional argument but 2 were given'
[ "$seen" = "$expected" ] || { echo "It has changed." >&2; exit 1; }
