"""An app of Django's, with tasks."""
