"""Ollama: its settings, its models, its sizing and its server."""
