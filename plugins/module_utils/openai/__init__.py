"""A client for OpenAI-compatible servers, and the checks that tell whether one really serves."""
