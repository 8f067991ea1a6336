"""Metrics: does the map change when the network or the class changes?"""
