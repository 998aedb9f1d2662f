"""Arrays become pictures: colours, class maps, certainty on one scale, overviews, and their place on a web map."""
