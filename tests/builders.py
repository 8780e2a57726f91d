"""Plain builders of the objects that tests arrange."""
