"""Speech recognition on other servers, over web sockets."""
