"""Similar places: a query, one pass over the pixels, and ranked places that do not overlap."""
