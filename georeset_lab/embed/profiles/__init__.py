"""What each modality knows, dimension by dimension: of the map, of a selection, of a pixel with what was measured there."""
