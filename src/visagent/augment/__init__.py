"""Changes of pictures that a policy shall not mind."""
