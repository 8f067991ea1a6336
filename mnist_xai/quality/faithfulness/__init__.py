"""Metrics: does the map mark what the network uses?"""
