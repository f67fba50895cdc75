"""`m25 web`: a server of its own, and how it ends."""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import m25
from m25.cli import main

#: In seconds: a process that is started imports all that m25 has, on a machine that may be busy.
PATIENCE = 90.0
TOKEN = "sesame-sesame-sesame"


async def test_it_serves_until_it_is_asked_to_stop_and_then_ends_what_is_open(dsn: str) -> None:
    @m25.queue("mails")
    async def mails(text: str) -> None: ...

    async with m25.open(dsn) as m:
        await m.enqueue(mails, "hello")
    # Some servers want none.
    password = conninfo_to_dict(dsn).get("password") or "a-secret-password"
    address = make_conninfo(dsn, password=password)
    command = [sys.executable, "-m", "m25", "web", "--bind", "127.0.0.1:0", "--addr", address]
    said = b""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            environment = {**os.environ, "M25_WEB_TOKEN": TOKEN}
            run = partial(trio.run_process, command, stderr=subprocess.PIPE, env=environment)
            process = await nursery.start(run)
            while not (url := re.search(rb"http://[\d.:]+(?=;)", said)):
                said += await process.stderr.receive_some()
            async with httpx.AsyncClient(base_url=url[0].decode(), timeout=PATIENCE) as client:
                page = await client.get("/")
                assert ">mails</a>" in page.text
                assert "Sign in" in page.text
                async with client.stream("GET", "/live/") as stream:
                    parts = stream.aiter_text()
                    while "mails" not in await anext(parts):
                        pass
                    process.send_signal(signal.SIGTERM)
                    # It ends as an answer does that is complete: cut off, it would raise.
                    async for _ in parts:
                        pass
            said += b"".join([part async for part in process.stderr])
    assert process.returncode == 0
    for secret in (TOKEN, str(password)):
        assert secret not in page.text
        assert secret.encode() not in said


def test_the_program_of_the_page_is_that_of_the_example() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "web.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert program in (root / "examples" / "dashboard.py").read_text(encoding="utf-8")


def test_what_is_wrong_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dsn: str
) -> None:
    assert main(["web", "--addr", "sesame"]) == 2
    assert main(["web", "--addr", dsn, "--token", "sesame"]) == 2
    assert main(["web", "--addr", dsn, "--private"]) == 2
    assert main(["web", "--addr", "postgresql://ada:sesame@127.0.0.1:1/shop"]) == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with warnings.catch_warnings():
            # hypercorn leaves the socket open that it could not bind.
            warnings.simplefilter("ignore", ResourceWarning)
            assert main(["web", "--addr", dsn, "--bind", bind]) == 1
            gc.collect()
    said = capsys.readouterr().err
    for words in (
        "16 characters",
        "private needs a token",
        "ada@127.0.0.1:1/shop",
        f"--bind {bind} cannot be had: ",
    ):
        assert words in said
    assert "sesame" not in said
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["web", "--addr", dsn]) == 2
    assert "pip install 'm25[web]'" in capsys.readouterr().err
