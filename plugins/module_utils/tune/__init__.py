"""Trying the few settings that matter around a plan, and choosing by what was measured."""
