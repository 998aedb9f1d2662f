"""Labels that somebody draws: the book that holds them, files they come from and go to, the journal that outlives the kernel."""
