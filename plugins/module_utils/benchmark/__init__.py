"""Load on an OpenAI-compatible server, measured request by request: prompts, the load itself, statistics, a report."""
