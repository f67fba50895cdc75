"""What `m25.sync` is made of: the calls, and how they run statements on connections of others."""
