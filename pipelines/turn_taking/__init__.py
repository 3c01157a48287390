"""Who has the floor: the decisions of a call, and what they do to the agent."""
