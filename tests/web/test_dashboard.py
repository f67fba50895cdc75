"""The dashboard, as a browser sees it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from datetime import timedelta
from urllib.parse import urlencode

import pytest
import trio
import trio.testing
from starlette.applications import Starlette
from starlette.routing import Mount

import m25
from m25 import errors, testing, web
from support.browsers import HOST, TOKEN, Browser, Forms, Scripts
from support.dashboards import Order, catalogues, invoices, mails, shop

PAGES = ("/", "/queue?name=mails", "/jobs", "/limits", "/workers", "/schedules")


@pytest.fixture
async def m() -> AsyncGenerator[m25.M25]:
    async with testing.open() as m:
        yield m


@pytest.fixture
async def browser(m: m25.M25) -> AsyncGenerator[Browser]:
    async with Browser(web.app(m, token=TOKEN)) as browser:
        yield browser


async def test_the_pages_show_what_there_is(m: m25.M25, browser: Browser) -> None:
    async with shop(m) as ids:
        text = (await browser.get("/")).text
        assert all(f">{name}</a>" in text for name in ("albums", "invoices", "mails", "photos"))
        text = (await browser.get("/queue?name=catalogues")).text
        assert "Due and running" in text

        text = (await browser.get("/jobs?status=failed&queue=mails")).text
        assert ids["failed"] in text
        assert "eve@example.org" in text
        assert ids["broken"] not in text
        text = (await browser.get("/jobs", params={"where": "number=3"})).text
        assert "no price for" in text
        assert "customer-4" not in text

        # A job with its chain of attempts, and one with what it has started.
        text = (await browser.get(f"/jobs/{ids['failed']}")).text
        assert text.count('class="nth"') == 3
        assert "It raised a declared error" in text
        text = (await browser.get(f"/jobs/{ids['broken']}")).text
        assert "Traceback" in text
        assert "broken.raw: not an image, or cut off" in text
        assert text.count('<li data-level="1">') == 2
        text = (await browser.get(f"/jobs/{ids['running']}")).text
        assert "page 37: garden chairs" in text
        for held_up in (await m.jobs(queue="exports", status="pending")).jobs:
            text = (await browser.get(f"/jobs/{held_up.id}")).text
            assert (
                "room under limit &#39;exports&#39;: of key &#39;Noether &amp; Söhne&#39; 2 run"
                in text
            )

        text = (await browser.get("/limits")).text
        assert all(name in text for name in (">renders</a>", ">previews</a>", "gpu"))
        # Of six exports of one customer two run.
        assert "Noether &amp; Söhne" in text
        assert "10 a second" in text

        text = (await browser.get("/schedules")).text
        assert "30 2 * * *" in text
        assert "Europe/Berlin" in text


async def test_the_worker_is_there_with_when_it_was_heard_of(m: m25.M25, browser: Browser) -> None:
    m.add_queue(mails)
    await m.start()
    (worker,) = await m.workers()
    text = (await browser.get("/workers")).text
    assert worker.id in text
    assert "ago" in text


async def test_where_there_is_nothing_a_page_says_what_to_do(browser: Browser) -> None:
    assert "m25 worker" in (await browser.get("/")).text
    assert "enqueued" in (await browser.get("/jobs")).text
    assert "m25 worker" in (await browser.get("/workers")).text
    assert "add_schedule" in (await browser.get("/schedules")).text
    assert "limit=m25.Limit(5)" in (await browser.get("/limits")).text


async def test_an_address_of_what_is_unknown_is_not_found_and_says_so(
    m: m25.M25, browser: Browser
) -> None:
    unknown = "00000000-0000-0000-0000-000000000000"
    for address, words in (
        ("/queue?name=nope", "No queue is named"),
        ("/queue", "No queue is named"),
        (f"/jobs/{unknown}", "There is no such job"),
    ):
        answer = await browser.get(address)
        assert (answer.status_code, words in answer.text) == (404, True), address
        # A page that is open shows it as soon as it is there.
        assert "hx-sse:connect" in answer.text
    record = await m.enqueue(mails, "ada@example.org")
    for address in ("/queue?name=mails", f"/jobs/{record.id}"):
        assert (await browser.get(address)).status_code == 200


async def test_a_command_to_copy_holds_a_name_and_no_more_than_that(
    m: m25.M25, browser: Browser
) -> None:
    @m25.queue("mails; reboot")
    async def queue(text: str) -> None: ...

    await m.enqueue(queue, "hello")
    page = (await browser.get("/queue?name=mails%3B+reboot")).text
    assert "m25 worker MODULE --queue &#39;mails; reboot&#39;" in page


async def test_pages_of_jobs_follow_each_other(m: m25.M25, browser: Browser) -> None:
    await m.enqueue_many(mails, [f"{number}@example.org" for number in range(120)])
    seen: list[str] = []
    address = "/jobs?queue=mails"
    while address:
        text = (await browser.get(address)).text
        seen += [line for line in text.split('"') if line.startswith("/jobs/0")]
        _, has_next, rest = text.partition('rel="next" href="')
        address = rest.partition('"')[0].replace("&amp;", "&") if has_next else ""
    assert len(set(seen)) == 120


@pytest.mark.parametrize(
    "query",
    [
        "since=soon",
        "where=customer",
        "where=%7B",
        "status=lost",
        "after=x",
        "since=9999999d",
        f"where={'[' * 3_000}",
        "where=%22%5Cu0000%22",
        "where=name=%22%5Cud800%22",
        f"where={'a.' * 3_000}a=1",
    ],
    ids=lambda query: query[:20],
)
async def test_what_means_nothing_is_said_so(browser: Browser, query: str) -> None:
    answer = await browser.get(f"/jobs?{query}")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert (await browser.get("/jobs/not-an-id")).status_code == 404
    assert (await browser.get("/nothing")).status_code == 404


EVIL = """<script>alert(1)</script>"><b onclick=alert(1)><img src=x onerror='alert(1)'>"""


async def test_what_jobs_hold_is_text_on_every_page(m: m25.M25, browser: Browser) -> None:
    class EvilError(Exception):
        pass

    EvilError.__qualname__ = f"Evil{EVIL}"

    @m25.queue(f"queue {EVIL}", limit=m25.Limit(5, name=f"limit {EVIL}"))
    async def queue(text: str) -> str:
        if text.endswith("!"):
            raise EvilError(EVIL)
        await m25.current_job().step(EVIL, step, text)
        await m25.current_job().report(note=EVIL)
        return text

    async def step(text: str) -> str:
        return text

    m.add_queue(queue)
    m.add_schedule(f"schedule {EVIL}", queue, every=timedelta(hours=1), input=EVIL)
    await m.start()
    good = await m.enqueue(queue, m25.Job(EVIL, meta={"note": EVIL}, unique_key=EVIL))
    bad = await m.enqueue(queue, f"{EVIL}!")
    for each in (good, bad):
        await m.wait(queue, each.id)
    await m.pause(queue, reason=EVIL)
    gone = await m.enqueue(queue, EVIL)
    await m.cancel(gone.id, by=EVIL, reason=EVIL)
    await browser.sign_in()
    addresses = [*PAGES, f"/queue?{urlencode({'name': queue.name})}"]
    addresses += [f"/jobs?{urlencode({name: EVIL})}" for name in ("queue", "where", "since")]
    addresses += [f"/jobs/{each.id}" for each in (good, bad, gone)]
    shown = 0
    for address in addresses:
        page = (await browser.get(address)).text
        assert Scripts.of(page) == [], address
        shown += "&lt;script&gt;" in page
        async with browser.stream(address) as stream:
            assert Scripts.of(await stream.next()) == [], address
    assert shown == len(addresses) - 1


async def test_every_answer_lets_browsers_load_our_own_files_alone(browser: Browser) -> None:
    for address in (*PAGES, "/sign-in", "/static/m25.js", "/static/m25.css", "/nothing"):
        headers = (await browser.get(address)).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert (await browser.get("/")).headers["Cache-Control"] == "no-store"


# Who may do what


async def test_without_a_token_all_is_read_only(m: m25.M25) -> None:
    async with shop(m) as ids, Browser(web.app(m)) as browser:
        for address in (*PAGES, f"/jobs/{ids['failed']}"):
            assert Forms.of((await browser.get(address)).text) == []
        for address in changing(ids["failed"]):
            assert (await browser.post(address, data={"csrf": ""})).status_code == 403
        assert (await browser.post("/sign-in", data={"token": ""})).status_code == 403


def changing(id: str) -> list[str]:
    jobs = [f"/jobs/{id}/{what}" for what in ("retry", "skip", "cancel")]
    return [*jobs, "/queue/pause", "/queue/resume", "/schedules/pause", "/schedules/resume"]


async def test_nothing_is_changed_without_session_and_csrf_token(
    m: m25.M25, browser: Browser
) -> None:
    record = await m.enqueue(mails, "ada@example.org")
    stranger, other = Browser(browser.app), Browser(browser.app)
    await browser.sign_in()
    await other.sign_in()
    page = f"/jobs/{record.id}"
    (mine,) = {form.fields["csrf"] for form in Forms.of((await browser.get(page)).text)}
    (others,) = {form.fields["csrf"] for form in Forms.of((await other.get(page)).text)}
    assert mine != others
    fields = {"name": "mails"}
    for address in [*changing(str(record.id)), "/schedules/run"]:
        for who, data, headers in (
            (stranger, fields, {}),
            (stranger, {**fields, "csrf": mine}, {}),
            (stranger, {**fields, "csrf": mine}, {"Cookie": "m25_session=made-up"}),
            (browser, fields, {}),
            (browser, {**fields, "csrf": ""}, {}),
            (browser, {**fields, "csrf": others}, {}),
            (browser, {**fields, "csrf": mine}, {"Sec-Fetch-Site": "cross-site"}),
            (browser, {**fields, "csrf": mine}, {"Sec-Fetch-Site": "same-site"}),
        ):
            assert (await who.post(address, data=data, headers=headers)).status_code == 403
        assert (await browser.get(address)).status_code in (404, 405)
    assert (await m.get_job(mails, record.id)).status is m25.JobStatus.PENDING
    assert await m.queues() == [queue for queue in await m.queues() if queue.paused_at is None]


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(browser: Browser) -> None:
    answer = await browser.post("/sign-in", data={"token": TOKEN})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert "Secure" not in cookie
    safe, data = Browser(browser.app), {"token": TOKEN}
    answer = await safe.post(f"{HOST.replace('http', 'https')}/sign-in", data=data)
    assert "Secure" in answer.headers["Set-Cookie"]
    wrong = await browser.post("/sign-in", data={"token": "open"})
    assert wrong.status_code == 403
    assert "Set-Cookie" not in wrong.headers
    assert (await browser.press("/", "Sign out")).status_code == 200
    assert "Sign in" in (await browser.get("/")).text


async def test_a_private_one_shows_nothing_before_one_has_signed_in(m: m25.M25) -> None:
    async with Browser(web.app(m, token=TOKEN, private=True)) as browser:
        for address in PAGES:
            assert (await browser.get(address)).headers["Location"] == "/sign-in"
            assert (await browser.get(f"/live{address}")).status_code == 403
        await browser.sign_in()
        assert (await browser.get("/")).status_code == 200
    with pytest.raises(m25.UsageError, match="16 characters"):
        web.app(m, token="sesame")
    with pytest.raises(m25.UsageError, match="private needs a token"):
        web.app(m, private=True)


async def test_it_answers_to_its_own_names_alone(m: m25.M25) -> None:
    app = web.app(m, token=TOKEN, hosts=["dashboard", "[::1]"])
    async with Browser(app) as browser:
        for address, status in (
            ("/", 200),
            ("http://DASHBOARD:8025/", 200),
            ("http://[::1]:8025/", 200),
            ("http://evil.example/", 421),
            ("http://dashboard.evil.example:8025/", 421),
            ("http://evil.example/live/", 421),
        ):
            assert (await browser.get(address)).status_code == status
        answer = await browser.post("http://evil.example/sign-in", data={"token": TOKEN})
        assert answer.status_code == 421


async def test_a_job_that_holds_others_is_skipped_from_its_page(
    m: m25.M25, browser: Browser
) -> None:
    @m25.queue("changes", ordered_by="account")
    async def changes(change: dict[str, str]) -> None:
        if change["what"] == "first":
            raise OSError("no")

    m.add_queue(changes)
    await m.start()
    first = await m.enqueue(changes, {"account": "ada", "what": "first"})
    await m.wait(changes, first.id)
    second = await m.enqueue(changes, {"account": "ada", "what": "second"})
    await browser.sign_in()
    page = (await browser.get(f"/jobs/{second.id}")).text
    assert f"job {first.id} of key" in page
    page = await browser.press(f"/jobs/{first.id}", "Skip")
    assert "what is behind it goes on" in page.text
    assert "Skip" not in {form.button for form in Forms.of(page.text)}
    assert (await m.wait(changes, second.id)).status is m25.JobStatus.SUCCEEDED


async def test_what_is_done_from_the_pages_is_done(m: m25.M25, browser: Browser) -> None:
    async with shop(m) as ids:
        await browser.sign_in()
        page = await browser.press(f"/jobs/{ids['failed']}", "Retry")
        assert "tried once more" in page.text
        await m.wait(mails, ids["failed"])
        assert len(await m.attempts(mails, ids["failed"])) == 4
        # A child goes with the job that has started it.
        assert "Retry" not in {
            form.button for form in Forms.of(page.text) if "/albums" in page.text
        }

        running = ids["running"]
        page = await browser.press(f"/jobs/{running}", "Cancel this job", reason="too long")
        record = await m.wait(catalogues, running)
        assert (record.status, record.cancel_reason) == (m25.JobStatus.CANCELLED, "too long")
        assert record.cancelled_by == "m25 web"

        page = await browser.press("/queue?name=mails", "Pause this queue", reason="bounces")
        assert "bounces" in page.text
        page = await browser.press("/queue?name=mails", "Resume")
        assert "bounces" not in page.text
        forms = Forms.of((await browser.get("/schedules")).text)
        assert [form.button for form in forms[1:]] == ["Pause", "Run now"] * 2


# httpx leaves what it was not asked for.
@pytest.mark.filterwarnings("ignore:.*ByteStream.__aiter__:pytest.PytestUnraisableExceptionWarning")
async def test_what_could_not_be_done_is_said(m: m25.M25, browser: Browser) -> None:
    await browser.sign_in()
    record = await m.enqueue(mails, "ada@example.org")
    page = f"/jobs/{record.id}"
    (form,) = [form for form in Forms.of((await browser.get(page)).text) if "cancel" in form.action]
    await browser.press(page, "Cancel this job")
    answer = await browser.post(form.action, data=form.fields)
    assert "It was not done: it has ended" in (await browser.get(answer.headers["Location"])).text
    # Nobody else can have a page say something.
    assert "sold" not in (await browser.get("/?said=sold")).text
    too_long = await browser.post(form.action, data={**form.fields, "reason": "x" * 100_000})
    assert too_long.status_code == 413


# Streams


async def test_an_open_page_shows_what_has_changed(
    m: m25.M25, browser: Browser, autojump_clock: trio.testing.MockClock
) -> None:
    record = await m.enqueue(mails, "ada@example.org")
    async with browser.stream(f"/jobs/{record.id}") as job, browser.stream("/") as queues:
        assert "pending" in await job.next()
        assert "mails" in await queues.next()
        await m.cancel(record.id)
        while "cancelled" not in await job.next():
            pass
        # Who has signed in has the buttons, and nobody else.
        other = Browser(browser.app)
        await other.sign_in()
        async with other.stream(f"/jobs/{record.id}") as others:
            assert [form.button for form in Forms.of(await others.next())] == ["Retry"]


async def test_ten_browsers_cost_less_than_five_statements_a_second_and_none_costs_nothing(
    m: m25.M25,
    browser: Browser,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    made = [await m.enqueue(mails, f"{number}@example.org") for number in range(5)]
    calls = 0

    def counted(call):
        async def count(*arguments, **options):
            nonlocal calls
            calls += 1
            return await call(*arguments, **options)

        return count

    store = m._runtime.store
    for target, names in (
        (store.operator, ("queues", "rates", "workers", "find", "find_below")),
        (store, ("attempts", "find_steps", "find_schedules")),
    ):
        for name in names:
            monkeypatch.setattr(target, name, counted(getattr(target, name)))
    same = ["/"] * 10
    different = [*PAGES, *(f"/jobs/{record.id}" for record in made)]
    for addresses in (same, different):
        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(look, browser, address)
            await trio.sleep(5)
            calls = 0
            await trio.sleep(60)
            assert 20 < calls <= 5 * 60
            nursery.cancel_scope.cancel()
        calls = 0
        await trio.sleep(60)
        assert calls == 0


async def look(browser: Browser, address: str) -> None:
    async with browser.stream(address):
        await trio.sleep_forever()


async def test_when_the_one_goes_whose_task_asks_another_takes_over(
    m: m25.M25, browser: Browser, autojump_clock: trio.testing.MockClock
) -> None:
    async with browser.stream("/") as first, browser.stream("/workers") as second:
        await first.next()
        await second.next()
        first.close()
        await first.has_ended.wait()
        async with browser.stream("/schedules") as third:
            await third.next()


async def test_all_streams_end_when_the_server_stops(browser: Browser) -> None:
    async with browser.stream("/") as stream:
        await stream.next()
        browser.app.stop()
        with trio.fail_after(10):
            await stream.has_ended.wait()
    async with browser.stream("/") as late:
        with trio.fail_after(10):
            await late.has_ended.wait()


async def test_a_database_that_fails_is_told_and_what_was_seen_stays(
    m: m25.M25,
    browser: Browser,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    await m.enqueue(mails, "ada@example.org")
    async with browser.stream("/") as stream:
        await stream.next()
        queues = m.queues
        is_away = True

        async def fail():
            if is_away:
                raise errors.JobRecordFetchQueryError("it is away <b>")
            return await queues()

        monkeypatch.setattr(m, "queues", fail)
        while "it is away &lt;b&gt;" not in (shown := await stream.next()):
            pass
        assert ">mails</a>" in shown
        answer = await browser.get("/workers")
        assert answer.status_code == 200
        answer = await Browser(web.app(m)).get("/")
        assert answer.status_code == 503
        assert "The database does not answer" in answer.text
        is_away = False
        while "does not answer" in await stream.next():
            pass


async def test_it_can_be_mounted_under_a_path(m: m25.M25) -> None:
    await m.enqueue(invoices, Order(1, "ada", ["chair"]))
    site = Starlette(routes=[Mount("/admin/jobs", web.app(m, token=TOKEN))])
    async with Browser(site) as browser:
        text = (await browser.get("/admin/jobs/")).text
        assert 'href="/admin/jobs/queue?name=invoices"' in text
        assert 'hx-sse:connect="/admin/jobs/live/"' in text
        addresses = re.findall(r'(?:href|src|action|connect)="(.*?)"', text)
        assert {address.startswith(("/admin/jobs/", "#main")) for address in addresses} == {True}
        assert (await browser.get("/admin/jobs/static/m25.css")).status_code == 200
        answer = await browser.post("/admin/jobs/sign-in", data={"token": TOKEN})
        assert answer.headers["Location"] == "/admin/jobs/"
        assert "Path=/admin/jobs/" in answer.headers["Set-Cookie"]
        page = await browser.press("/admin/jobs/queue?name=invoices", "Pause this queue")
        assert "paused" in page.text
