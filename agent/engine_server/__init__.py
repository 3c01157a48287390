"""`parley engine`: the three engines of a process behind open protocols, for other Parleys and any stock client."""
