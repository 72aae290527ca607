"""How well a served checkpoint drives the road: scenes -> predictions -> scores -> table.

`python -m alpamayo_demo.evaluate --help`
"""
