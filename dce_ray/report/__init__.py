"""The published tables, and the code that builds tables and figures from measured runs."""
