"""What the managers ask of a database, and two that answer: PostgreSQL, and one in memory."""
