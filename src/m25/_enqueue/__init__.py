"""How jobs come into the table, and how workers hear of them."""
