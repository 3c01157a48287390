"""One HTTP server of somebody else's, as every remote engine needs it."""
