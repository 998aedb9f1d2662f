"""Readers: from a file, a folder or an xarray object to `Piece`s, and from pieces to a `Modality`.

A reader reports what a source *states* (numbers, grid, band names, dates, scale, nodata) and decides nothing;
``assemble.py`` decides, with ``data/units.py`` for scales and ``data/sensors.py`` for bands.
"""
