"""Answer the model and tool calls of frameworks and of unwrapped clients from the recording of a replay.

Each module adapts one of them by its own extension points, and imports it only when it is used. `replaying` of each
returns the agent or client that it is given: answered within `replay_run`, unchanged in what it does outside.
"""
