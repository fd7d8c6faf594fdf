"""Network modules only: no loss, no optimizer."""
