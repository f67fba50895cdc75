"""The dashboard in a real browser: what it shows, what it says, and whether all can use it.

`nox -s browser` runs it, and makes the pictures of docs/web.md anew.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import hypercorn
import hypercorn.trio
import pytest
import trio

import m25
from m25 import web
from support import chromium
from support.browsers import TOKEN
from support.dashboards import shop

TESTS = Path(__file__).parents[1]
#: Those in docs/web.md.
PICTURES = (
    *("queues-light-1400", "queues-dark-400", "queue-light-1400", "failed-light-1400"),
    *("job-light-1400", "tree-light-1400", "tree-dark-400", "running-dark-400"),
    "limits-light-1400",
)
#: Chromium's advice for sites with names of users: this one has none.
ADVICE = "Password forms should have"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(chromium.MISSING is not None, reason=str(chromium.MISSING))
async def test_every_page_works_and_is_accessible_in_light_and_dark_narrow_and_wide(
    dsn: str, tmp_path: Path
) -> None:
    config = hypercorn.Config()
    config.bind = ["127.0.0.1:0"]
    async with m25.open(dsn) as m, shop(m) as ids, trio.open_nursery() as nursery:
        dashboard = web.app(m, token=TOKEN, target="shop@db.example/shop")
        (address,) = await nursery.start(partial(hypercorn.trio.serve, dashboard, config))
        pages = {
            "queues": "/",
            "queue": "/queue?name=mails",
            "jobs": "/jobs",
            "failed": "/jobs?status=failed",
            "nothing": "/jobs?queue=nope",
            "job": f"/jobs/{ids['failed']}",
            "running": f"/jobs/{ids['running']}",
            "tree": f"/jobs/{ids['album']}",
            "broken": f"/jobs/{ids['broken']}",
            "limits": "/limits",
            "workers": "/workers",
            "schedules": "/schedules",
            "sign-in": "/sign-in",
        }
        run = await trio.run_process(
            [sys.executable, "-m", "support.chromium", address, TOKEN, str(tmp_path)],
            stdin=json.dumps(pages).encode(),
            capture_stdout=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        dashboard.stop()
        nursery.cancel_scope.cancel()
    found = json.loads(run.stdout)
    assert found["violations"] == []
    assert found["wide"] == []
    assert [text for text in found["messages"] if ADVICE not in text] == []
    # What somebody fills in stays, though what is around it changes.
    assert found["typed"] == "the relay"
    assert found["keys"][0] == "Skip to the content"
    assert found["keys"][-1] == "Retry"
    keep(tmp_path, os.environ.get("M25_TEST_PICTURES"))


def keep(pictures: Path, directory: str | None) -> None:
    """Copy those of the page of docs."""
    for name in PICTURES:
        assert (pictures / f"{name}.png").exists()
        if directory is not None:
            shutil.copy(pictures / f"{name}.png", directory)
