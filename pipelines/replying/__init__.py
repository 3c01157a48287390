"""From the conversation to the reply, tools included."""
