"""Commands for who keeps the project: not installed."""
