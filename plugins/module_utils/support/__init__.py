"""Which distributions the roles know, and what may be an address."""
