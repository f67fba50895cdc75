-- The job stands in the way of those of its key behind it; job_order_idx has all that do.
order_number is not null
    and finished_at is null
    and cancelled_at is null
