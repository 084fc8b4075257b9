"""Platforms beside each other and beside the study. Imports no other room.

documents.py   what `bench` wrote, and the study's figures, as columns of one kind
plots.py       its figures 12 to 14
page.py        the report: tables and plots in one HTML file
"""
