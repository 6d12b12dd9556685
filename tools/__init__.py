"""Scripts and collections for the development of the two packages; not installed with them."""
