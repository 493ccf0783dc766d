"""The agent: one a machine; it places, settles and replies."""
