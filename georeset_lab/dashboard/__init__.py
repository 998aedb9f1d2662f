"""The served dashboard: the explorer for people without Python, several at once, nothing loaded from outside.

`georeset_lab.dashboard.server.serve` starts it. Importing this package loads neither Panel nor a widget library.
"""
