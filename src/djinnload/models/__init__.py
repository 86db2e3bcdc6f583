"""Named models: configurations, seeded weights, and how to build them."""
