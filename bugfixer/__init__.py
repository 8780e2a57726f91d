"""Bug reports: taken, grouped, analysed, resolved."""
