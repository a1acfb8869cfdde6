"""Which distributions the roles know."""
