"""Scenes from SpatioTemporal Asset Catalogs: search or file in, pieces with their band facts out, pixels read lazily.

``source`` finds items, ``choose`` the dates, ``assets`` and ``measures`` what each asset measures, ``pixels`` reads them
through odc-stac; ``http`` and ``cache`` bring the bytes, ``load`` puts a scene's modalities together.
"""
