"""What the engines accept, log and fail with."""
