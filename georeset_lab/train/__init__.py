"""Training without labels: crops of scenes, views of crops, objectives, and the loop that runs them."""
