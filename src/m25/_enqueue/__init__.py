"""How jobs come into the table, and how workers are notified of them."""
