"""The one HTTP kit of all our servers: listening, bodies, sockets, errors, and who may ask. Knows nothing of calls."""
