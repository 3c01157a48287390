"""Calls from a browser: the offer over HTTP, and the page."""
