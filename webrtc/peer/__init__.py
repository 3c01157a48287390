"""A call over a WebRTC peer connection, by aiortc."""
