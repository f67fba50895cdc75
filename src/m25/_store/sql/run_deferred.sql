-- Run what a handler's transaction has put off until its commit: constraints that are deferred, and
-- triggers. For the handler it is the same moment. But its job's row is not locked yet, so that the lease
-- is renewed meanwhile, however long that takes; and it runs under the handler's settings, not ours.
-- Safe under concurrency: of the own transaction alone.
set constraints all immediate -- rule: what is deferred runs before its job's row is locked
