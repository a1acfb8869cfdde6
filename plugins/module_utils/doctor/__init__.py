"""What is wrong with a host that serves models, and what to do about it: rules in data, and their evaluation."""
