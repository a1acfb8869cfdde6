"""Taking over hosts that were set up by hand: what is there, what it becomes, and the way there and back."""
