"""Pure functions from tensors to tensors, each naming its paper's equation."""
