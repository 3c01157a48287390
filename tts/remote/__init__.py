"""Speech from other servers, over HTTP."""
