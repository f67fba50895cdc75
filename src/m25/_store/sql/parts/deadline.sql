-- When a handler that begins now must have ended. It is kept within what a timestamp can hold, a
-- thousand years: a row may ask for any timeout. It is counted in seconds, since an interval's day
-- may have 23 hours, or 25, where the session's time zone changes its clocks.
now() + make_interval(
    secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
)
