"""A dashboard for whoever looks after the jobs: `m25 web`, or an app within an ASGI app of yours.

    dashboard = m25.web.app(m, token=os.environ["M25_WEB_TOKEN"])
    site = Starlette(routes=[Mount("/jobs", dashboard), ...])

It needs the extra `m25[web]`, and a server that runs on Trio, as hypercorn does.

From top to bottom: `_dashboard` (the app, and which address is whose) · `_actions` (what can be
done) · `_live` (a stream that keeps a page up to date) · `_templates` (from values to HTML) ·
`_views` (what each page shows) · `_watch` (asks the database, for all streams together) ·
`_history` and `_chart` (lines over time) · `_questions` (what is asked) · `_job_list` (which jobs a
page lists) · `_access` (who may do something) · `_hosts`, `_headers` and `_words`.
"""

from __future__ import annotations

from ._dashboard import Dashboard, app

__all__ = ["Dashboard", "app"]
